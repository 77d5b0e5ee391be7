#!/bin/sh
# Installs an Archipelag Island on a Linux host with systemd, or another version of it:
#
#   sh install.sh --url https://archipelag.example.org/api/v1/releases --key release.pub
#
# --key is the public key of those who release the software: get it from people that you trust, not from that address.
# Nothing that was fetched is run before its signature and digest were found right; an older release is refused.
# Options: --root FOLDER installs below a folder and starts nothing. Needs curl, openssl, and for the rest a shell.
set -eu
umask 022

fail() {
    echo "install.sh: $*" >&2
    exit 1
}

url='' key='' root=''
while [ $# -gt 0 ]; do
    case $1 in
    --url | --key | --root)
        [ $# -ge 2 ] || fail "$1 needs a value"
        case $1 in
        --url) url=${2%/} ;;
        --key) key=$2 ;;
        --root) root=${2%/} ;;
        esac
        shift 2
        ;;
    *) fail "unknown option $1: sh install.sh --url URL --key FILE" ;;
    esac
done
[ -n "$url" ] || fail "--url is missing: where the network's releases are, such as https://archipelag.example.org/api/v1/releases"
[ -r "$key" ] || fail "--key is missing: the file with the public key of those who release the software"
[ "$(uname -s)" = Linux ] || fail "this installs on Linux only"
for program in curl openssl tar gzip; do
    command -v "$program" >/dev/null || fail "$program is missing: install it first"
done
if [ -z "$root" ]; then
    [ "$(id -u)" = 0 ] || fail "run it as root, or with --root to install below a folder"
    command -v systemctl >/dev/null || fail "this host has no systemd: see how to run an Island without it"
fi

etc=$root/etc/archipelag
state=$root/var/lib/archipelag-island
library=$root/usr/local/lib/archipelag-island
units=$root/etc/systemd/system
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fetch() {
    curl --fail --silent --show-error --location --proto '=https,http' --max-filesize "$3" -o "$2" "$1" ||
        fail "$1 could not be fetched"
}

# Once installed, the key that was trusted then is the one that counts.
trusted=$key
if [ -f "$etc/release.pub" ]; then
    trusted=$etc/release.pub
    [ "$(cat "$key")" = "$(cat "$trusted")" ] || fail "$trusted is another key than $key: if that is meant, remove it first"
fi

fetch "$url/release.json" "$work/release.json" 65536
fetch "$url/release.json.sig" "$work/release.json.sig" 512
openssl base64 -d -A -in "$work/release.json.sig" -out "$work/signature" 2>/dev/null || fail "the signature cannot be read"
openssl dgst -sha256 -verify "$trusted" -signature "$work/signature" "$work/release.json" >/dev/null 2>&1 ||
    fail "the release is not signed by $key: nothing was installed"

# From here on the document is what its signer wrote: one name a line.
number_of() {
    sed -n "s/^ \"$1\": \([0-9]\{1,16\}\),\{0,1\}\$/\1/p" "$work/release.json"
}
[ "$(number_of format)" = 1 ] || fail "this release is of a form that this installer does not know: get a newer one"
number=$(number_of number)
expires_at=$(number_of expires_at)
version=$(sed -n 's/^ "version": "\([0-9a-z.+-]*\)",$/\1/p' "$work/release.json")
if [ -z "$number" ] || [ -z "$expires_at" ] || [ -z "$version" ]; then fail "the release cannot be read"; fi
[ "$(date +%s)" -lt "$expires_at" ] || fail "the release has expired by this machine's clock: nothing was installed"
# What lies in its folder is the Island's user's, who may have put links where we write: there, that user writes.
standing=''
if [ -d "$state" ] && [ "$(stat -c %u "$state")" != "$(id -u)" ]; then
    standing=$(stat -c '--reuid=%u --regid=%g' "$state")
    command -v setpriv >/dev/null || fail "setpriv is missing: install util-linux first"
fi
as_owner() {
    # shellcheck disable=SC2086 # Two options.
    if [ -n "$standing" ]; then setpriv $standing --clear-groups --no-new-privs "$@"; else "$@"; fi
}
highest=0
[ ! -f "$state/software/highest" ] || highest=$(as_owner cat "$state/software/highest")
[ "$number" -ge "$highest" ] || fail "release $number is older than $highest, which was installed here: nothing was changed"

machine=$(uname -m)
entry=$(sed -n "s/^  \"linux-$machine\": \"sha256:\([0-9a-f]\{64\}\) \([0-9]\{1,10\}\)\",\{0,1\}\$/\1 \2/p" "$work/release.json")
[ -n "$entry" ] || fail "release $version has no file for $machine"
digest=${entry% *} size=${entry#* }
fetch "$url/sha256-$digest" "$work/island" "$size"
found=$(openssl dgst -sha256 -r "$work/island")
[ "${found%% *}" = "$digest" ] || fail "the file is not the one that was signed: nothing was installed"

if [ -z "$root" ] && ! id archipelag-island >/dev/null 2>&1; then
    useradd --system --home-dir /var/lib/archipelag-island --shell /usr/sbin/nologin archipelag-island
fi
mkdir -p "$etc" "$library" "$units"
[ -f "$etc/release.pub" ] || cp "$key" "$etc/release.pub"
if [ ! -f "$etc/island.env" ]; then
    (
        umask 077
        echo "# The owner's settings, one NAME=value a line."
        echo "ARCHIPELAG_ISLAND_UPDATE_URL=$url"
    ) >"$etc/island.env"
fi
# What runs goes on undisturbed: each is laid beside and renamed.
place() {
    cp "$1" "$2.new"
    chmod "$3" "$2.new"
    mv -f "$2.new" "$2"
}
here=$(dirname "$0")
place "$here/launch.sh" "$library/launch" 755
place "$here/archipelag-island.service" "$units/archipelag-island.service" 644
mkdir -p "$state"
chmod 700 "$state"
# An update that was being tried gives way to what its owner installs.
# shellcheck disable=SC2016 # Its own arguments.
as_owner sh -euc '
    umask 022
    mkdir -p "$1/versions"
    cd "$1"
    rm -f trial trying current.new highest.new "versions/$2.new"
    cat >"versions/$2.new"
    chmod 755 "versions/$2.new"
    mv -f "versions/$2.new" "versions/$2"
    ln -s "versions/$2" current.new
    mv -f current.new current
    echo "$3" >highest.new
    mv -f highest.new highest
' - "$state/software" "$digest" "$number" <"$work/island"
sync
echo "installed release $number, version $version"
[ -z "$root" ] || exit 0

[ -n "$standing" ] || chown -Rh archipelag-island:archipelag-island "$state"
chown root:archipelag-island "$etc/island.env"
chmod 640 "$etc/island.env"
systemctl daemon-reload
systemctl enable archipelag-island >/dev/null 2>&1
echo "Next, with a pairing code from your account:"
echo "  echo ARCHIPELAG_COORDINATOR=host:8421 >> $etc/island.env"
echo "  echo ARCHIPELAG_PAIRING_CODE=ABC234 >> $etc/island.env"
echo "  systemctl start archipelag-island && journalctl -fu archipelag-island"
