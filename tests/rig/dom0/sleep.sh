# Raises an event for the guest $DOMID, which is deaf already and about to go to S3, by a node that it watches; waits
# until it sleeps, and wakes it.
xenstore-write "/local/domain/$DOMID/control/shutdown" ""
for _ in $(seq 100); do
    xl qemu-monitor-command "$DOMID" "info status" | grep -q suspended && break
    sleep 0.2
done
touch asleep
xl trigger "$DOMID" s3resume || exit
touch woken
