# Detaches a vbd of the guest $DOMID, and waits until nothing of it is left, in xenstore or in dom0's kernel:
#   detach.sh <name of the virtual device> <its number> [--force]
# Says `again` each time that the toolstack has to ask once more: it gives up when the guest has not let go in 10 seconds.
number=$2
left() {
    local node
    for node in /local/domain/$DOMID/device/vbd /libxl/$DOMID/device/vbd /local/domain/0/backend/vbd/$DOMID \
        /local/domain/0/backend/qdisk/$DOMID; do
        ! xenstore-exists $node/$number || echo $node/$number
    done
    ls -d /sys/bus/xen-backend/devices/vbd-$DOMID-$number 2>/dev/null
}
for n in 1 2 3; do
    [ $n = 1 ] || echo again
    xl block-detach $3 $DOMID $1 && break
done
for n in $(seq 50); do
    [ -n "$(left)" ] || exit 0
    sleep 0.2
done
left
exit 1
