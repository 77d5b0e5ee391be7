#!/bin/sh
# Starts the Island whose file is the current one, and tries a new one that an update left here: if that is not
# confirmed, the current one is what starts next, whatever happened in between.
#
# In ARCHIPELAG_ISLAND_SOFTWARE, each step whole or not done at all:
#   current   link to the file that works
#   before    link to the one that was current before, for an owner who wants it back
#   trial     link to the file that is to be tried; renamed over `current` by the new Island itself once it works
#   trying    a line for each start of the trial
#   refused   digests of files that did not work, a line each
set -eu
software=${ARCHIPELAG_ISLAND_SOFTWARE:?is where the files of the Island lie}
within_s=${ARCHIPELAG_ISLAND_TRIAL_S:-300}
tries_max=3
cd "$software"

if [ "${1:-}" != run ] || [ ! -L trial ]; then
    exec "$software/current" "$@"
fi

tries=0
[ ! -f trying ] || tries=$(wc -l <trying)
if [ "$tries" -ge "$tries_max" ] || [ ! -x trial ]; then
    target=$(readlink trial)
    echo "archipelag-island: ${target##*/} did not work; going on with the one before" >&2
    echo "${target##*/}" >>refused
    sync
    rm -f trial
    rm -f trying
    exec "$software/current" "$@"
fi

echo started >>trying
sync
ARCHIPELAG_ISLAND_TRIAL=1 "$software/trial" "$@" &
child=$!
stopped=
trap 'stopped=1; kill -TERM "$child" 2>/dev/null || :' TERM INT
(
    trap 'kill "$sleeper" 2>/dev/null; exit 0' TERM
    sleep "$within_s" &
    sleeper=$!
    wait "$sleeper"
    [ ! -L "$software/trial" ] || kill -KILL "$child"
) &
guard=$!
status=0
wait "$child" || status=$?
# A signal interrupts the wait, not the child.
while kill -0 "$child" 2>/dev/null; do
    status=0
    wait "$child" || status=$?
done
kill -TERM "$guard" 2>/dev/null || :
if [ -n "$stopped" ] && [ -L trial ]; then
    # Its owner stopped it before it could show anything: that try does not count.
    rm -f trying
fi
exit "$status"
