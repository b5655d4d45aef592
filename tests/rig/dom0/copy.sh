# Saves the guest $DOMID twice so that it goes on afterwards: a save that fails for want of room once the guest is
# suspended, and one that was to be a copy. Then tells the guest by the size of its first disk, $1 sectors.
touch copying
mount -t tmpfs -o size=1m tmpfs /mnt || exit
! xl save "$DOMID" /mnt/save.img || exit
xl save -c "$DOMID" save.img || exit
touch copied
back=$(xenstore-read "/local/domain/$DOMID/device/vbd/768/backend")
xenstore-write "$back/sectors" "$1" "$back/state" 4
