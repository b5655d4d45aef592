# Makes a second guest beside the one that is reported: neighbour.sh <name> <disk> <further words of its command line>.
# It is the same virtual machine each time. It has the same drivers and registry, and as hda the guest disk of that number. Its console is not reported. Waits
# until it has ended; then it stays as it ended.
name=$1 disk=$2
shift 2
sed -e "s|^name = .*|name = \"$name\"|" -e "s|/dev/guest-disk0|/dev/guest-disk$disk|g" \
    -e "s|^serial = .*|serial = \"null\"|" -e "s|^cmdline = \"entry=\([0-9]*\).*|cmdline = \"entry=\1 $*\"|" guest.cfg >$name.cfg
echo 'uuid = "6f1c2a34-5b0d-4e9b-9a77-000000000002"' >>$name.cfg
xl create -p $name.cfg || exit
id=$(xl domid $name) || exit
echo "@rig other $id" >/dev/ttyS1
sleep 1
xl unpause $id
for n in $(seq 600); do
    set -- $(xl list -v $id | tail -n 1)
    [ "$8" = - ] || exit 0
    sleep 0.1
done
echo "$name does not end"
exit 1
