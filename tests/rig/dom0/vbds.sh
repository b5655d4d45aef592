# Gives the guest $DOMID many vbds of blkback's over one device, by writing their nodes as the toolstack does:
#   vbds.sh <device> <how many, from xvde on>
# Read-only ones, as only such may share a device.
# The toolstack itself starts a script for each, and with so many of qdisk's the device model is too busy for it:
# it does not answer within the 10 seconds that libxl gives it.
physical=$(stat -L -c %t:%T "$1")
front=/local/domain/$DOMID/device/vbd
back=/local/domain/0/backend/vbd/$DOMID
# New nodes have their parents' permissions.
xenstore-chmod "$back" n0 "r$DOMID" && xenstore-chmod "$front" "n$DOMID" r0 || exit
nodes=()
for ((n = 4; n < 4 + $2; n++)); do
    # xen-vbd-interface(7): 16 numbers for each of the first 16 disks of major 202, then 256 for each.
    v=$((n < 16 ? 202 << 8 | n << 4 : 1 << 28 | n << 8))
    nodes+=("$back/$v/frontend" "$front/$v" "$back/$v/frontend-id" "$DOMID" "$back/$v/online" 1
        "$back/$v/mode" r "$back/$v/physical-device" "$physical" "$back/$v/dev" "vbd$v" "$back/$v/state" 1
        "$front/$v/backend" "$back/$v" "$front/$v/backend-id" 0 "$front/$v/virtual-device" "$v"
        "$front/$v/device-type" disk "$front/$v/state" 1)
done
# One transaction, so that no backend sees a part of it.
xenstore-write "${nodes[@]}" || exit
# All of them are there when the last is: blkback takes one after the other.
for _ in {1..300}; do
    [ "$(xenstore-read "$back/$v/state")" = 2 ] && exit
    sleep 0.1
done
echo "blkback does not take $back/$v"
dmesg | tail -n 20
exit 1
