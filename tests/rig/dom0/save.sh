# Saves the guest $DOMID to a file and has the job script restore it from there: what a migration does, on one host. With
# the name of a backend (phy or qdisk) its disks are served by that one afterwards. BETWEEN is a command that runs when the
# guest has been saved, and before it is restored.
case $1 in
phy) of="phy,script=/run/job/block-fast.sh" ;;
*) of=$1 ;;
esac
[ -z "$1" ] || sed -E "s#backendtype=(phy,script=[^,]*|qdisk)#backendtype=$of#g" guest.cfg >restore.cfg || exit
touch saving
[ -e elsewhere ] && image=out/save.img || image=save.img
xl save "$DOMID" $image && eval "${BETWEEN:-true}" && touch saved
