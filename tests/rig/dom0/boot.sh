# Boots boot.cfg, and takes its power away where that is wanted: boot.sh - | boot.sh <milliseconds after its creation>
# <percent> <seed>. The latter two are those of cache.sh, where the disk has such a cache. Says how it went (`whole`, `cut`,
# or `ended` where it had ended before) and for how many milliseconds the guest was there.
# It waits without looking again and again: each look is a process, which costs as much as the guest gets done meanwhile.
now() { echo $((${EPOCHREALTIME/./} / 1000)); }
rm -f xl.pipe
mkfifo xl.pipe
xl create -F boot.cfg </dev/null >xl.pipe 2>&1 &
xl=$!
exec 4<xl.pipe
: >boot.log
created=
while [ -z "$created" ]; do
    read -r line <&4 || { cat boot.log; exit 1; }
    echo "$line" >>boot.log
    case $line in "Waiting for domain"*) created=1 ;; esac
done
cat <&4 >>boot.log &
begun=$(now)
if [ "$1" = - ]; then
    how=whole
    # A request to xenstore alone may wait for half a minute, and a dump be written after it.
    sleep 240 &
    timer=$!
    wait -n $xl $timer
    if kill $timer 2>/dev/null; then
        wait $timer 2>/dev/null
    else
        how=late
        xl destroy guest >>boot.log 2>&1
    fi
else
    sleep "$(($1 / 1000)).$(printf %03d $(($1 % 1000)))"
    how=cut
    # From here on it does nothing more. One that has ended already cannot be paused.
    xl pause guest 2>/dev/null || how=ended
fi
took=$(($(now) - begun))
if [ $how != whole ] && [ -L /dev/guest-disk0 ]; then
    bash cache.sh cut "${2:-0}" "${3:-0}" >>boot.log 2>&1 || { cat boot.log; exit 1; }
elif [ $how = cut ]; then
    xl destroy guest >>boot.log 2>&1
fi
wait $xl
echo "$how $took"
