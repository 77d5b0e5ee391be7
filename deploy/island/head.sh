#!/bin/sh
# An Archipelag Island as one file, for Linux on @MACHINE@: an interpreter, its libraries and the agent follow these lines,
# packed. Nothing of the host is needed but a shell, ls, tail, tar, gzip, mktemp. Unpacked once, then started from there.
set -eu
umask 077
case ${1:-} in --file-version) echo "@VERSION@"; exit 0 ;; esac

kept=${ARCHIPELAG_ISLAND_UNPACKED:-${XDG_CACHE_HOME:-${HOME:?set HOME or ARCHIPELAG_ISLAND_UNPACKED}/.cache}/archipelag-island}
root=$kept/@DIGEST@
if [ ! -f "$root/whole" ]; then
    mkdir -p "$kept"
    part=$(mktemp -d "$kept/part.XXXXXX")
    trap 'rm -rf "$part"' EXIT
    if ! tail -c +@OFFSET@ "$0" | tar -xzf - -C "$part" || [ ! -f "$part/usr/local/bin/island-python" ]; then
        echo "archipelag-island: $0 cannot be unpacked to $kept: is it whole, and is there room?" >&2
        exit 1
    fi
    : >"$part/whole"
    # Whatever the power does, a folder of this name holds all of it.
    sync
    [ -e "$root" ] || mv "$part" "$root"
    trap - EXIT
    rm -rf "$part"
    # The one before stays, since an update may go back to it; older ones, and what was left half unpacked, go.
    # shellcheck disable=SC2012 # The names are ours.
    ls -1t "$kept" | tail -n +3 | while read -r old; do rm -rf "${kept:?}/$old"; done
fi
unset PYTHONPATH PYTHONHOME PYTHONSTARTUP
export PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
export SSL_CERT_FILE="${SSL_CERT_FILE:-$root/@PACKAGES@/certifi/cacert.pem}"
exec "$root/usr/local/bin/island-python" -s -m archipelag_island "$@"
