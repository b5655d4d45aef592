# Runs one guest from /run/job and reports on the second serial port in lines "@rig …":
#   created <domid> | shutdown <reason> | done
# Arguments: PCI slot of the results disk, then for each of the guest's disks that of its image (hexadecimal).
cd /run/job || exit 1
. /run/attach.sh
say() { echo "@rig $*" >/dev/ttyS1; }
RESULTS=$(attach "$1")
shift
n=0
for slot; do
    # A node of its own for each: the device model locks what it opens, and two disks may share an image. What they
    # cache is the device's, so they see each other's writes.
    disk=$(attach "$slot")
    mknod /dev/guest-disk$n b $(stat -c '0x%t 0x%T' "$disk")
    n=$((n + 1))
done
mkdir -p out
# blkback offers as many queues as dom0 has processors, which is one; a guest may have more.
echo 4 >/sys/module/xen_blkback/parameters/max_queues
[ ! -e before.sh ] || bash before.sh </dev/null >out/before 2>&1
domid=
chmod +x block-fast.sh dom0
# Reads what xl says in the foreground: the domain's number, and then the reason of its end.
follow() {
    while read -r line; do
        echo "$line" >>out/xl
        case $line in
        "Waiting for domain "*"(domid "*)
            domid=${line#*(domid }
            domid=${domid%%)*}
            echo "$domid" >out/domid
            if [ -e created.sh ]; then
                DOMID=$domid bash created.sh </dev/null >out/created 2>&1 && xl unpause "$domid" </dev/null
            fi
            say "created $domid"
            ;;
        *" has shut down, reason code "*)
            line=${line#*reason code }
            echo "${line%% *}" >out/reason
            # A guest that a mark saves (save.sh) goes on as soon as its image is whole.
            [ -e saving ] || [ -e copying ] || say "shutdown ${line%% *}"
            ;;
        esac
    done
}
# Boots before the one that is reported, each with a command line of its own, and some of them with a moment when
# their power goes (Job::batch).
if [ -e batch ]; then
    n=0
    while read -r cut line; do
        say "boot"
        sed -e "s|^cmdline = .*|cmdline = \"$line\"|" -e 's|^\(on_.*\) = .*|\1 = "destroy"|' guest.cfg >boot.cfg
        echo "@boot $n $(timeout -k 5 300 bash boot.sh ${cut//:/ } </dev/null 2>&1)" >>out/batch
        n=$((n + 1))
    done <batch
fi
# Paused where something is to be done before it runs (Job::created).
paused=
[ ! -e created.sh ] || paused=-p
if [ -e save.img ]; then
    # By its number a guest sees that it goes on in another domain: it was the first one.
    sed -e 's/^name = .*/name = "first"/' -e 's/^disk = .*/disk = [ ]/' guest.cfg >first.cfg
    xl create -p first.cfg >out/first 2>&1 && xl destroy first
    start="restore -F guest.cfg save.img"
else
    start="create $paused -F guest.cfg"
fi
xl $start 2>&1 | follow
echo "${PIPESTATUS[0]}" >out/status
while [ -e saving ]; do
    until [ -e saved ]; do sleep 0.1; done
    rm saving saved
    # It goes on elsewhere.
    [ ! -e elsewhere ] || break
    [ -e restore.cfg ] && other=restore.cfg || other=
    xl restore -F $other save.img 2>&1 | follow
done
# One that a mark saves and lets go on (copy.sh) has nobody any more who waits for its end. `xl list` has the reason of a
# domain that has ended: 2 is that of a suspend.
if [ -e copying ]; then
    until [ -e copied ]; do sleep 0.1; done
    domid=$(<out/domid)
    while :; do
        line=$(xl list -v "$domid" | tail -n 1)
        set -- $line
        case $8 in - | 2) sleep 0.3 ;; *) break ;; esac
    done
    reason=$((16#$8))
    echo "$reason" >out/reason
    say "shutdown $reason"
fi
# A mark that waits for the guest's end itself (`xl shutdown -w`) says so by this file, and removes it when it is done.
for n in $(seq 100); do
    [ -e waiting ] || break
    sleep 0.1
done
if [ -e out/domid ]; then
    domid=$(<out/domid)
    # The domain itself is left as it ended: the machine is about to go, and destroying it takes seconds.
    [ -e out/store-end ] || ./dom0 dump "$domid" >out/store-end 2>&1
fi
[ ! -e after.sh ] || bash after.sh </dev/null >out/after 2>&1
cp com1 out/com1 2>/dev/null
cat /var/log/xen/qemu-dm-guest.log >out/device-model 2>/dev/null
dmesg >out/dmesg
sync
tar -C out -cf "$RESULTS" .
blockdev --flushbufs "$RESULTS" /dev/guest-disk* 2>/dev/null
sync
say "done"
