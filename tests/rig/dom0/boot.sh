# Boots boot.cfg, and takes its power away where that is wanted: boot.sh - | boot.sh <milliseconds after its creation>
# <percent> <seed>. The latter two are those of cache.sh, where the disk has such a cache. Says how it went (`whole`, `cut`,
# or `ended` where it had ended before) and for how many milliseconds the guest was there.
now() { date +%s%3N; }
xl create -F boot.cfg </dev/null >boot.log 2>&1 &
xl=$!
until grep -q "^Waiting for domain" boot.log; do
    [ -e /proc/$xl ] || { cat boot.log; exit 1; }
    sleep 0.05
done
begun=$(now)
if [ "$1" = - ]; then
    how=whole
    for n in $(seq 900); do
        [ -e /proc/$xl ] || break
        sleep 0.1
    done
    [ $n -lt 900 ] || { how=late; xl destroy guest >>boot.log 2>&1; }
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
