# Waits until the guest tells that it serves the toolstack's requests: features.sh <poweroff> <reboot> <suspend>, each 0
# or 1. DOMID is its number.
for n in $(seq 100); do
    found=
    for feature in poweroff reboot suspend; do
        found="$found $(xenstore-read /local/domain/$DOMID/control/feature-$feature)"
    done
    [ "$found" = " $1 $2 $3" ] && exit
    sleep 0.2
done
echo "control/feature-poweroff, -reboot and -suspend are$found"
exit 1
