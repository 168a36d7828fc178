#!/usr/bin/env bash
# Make Apptainer available to ordinary users: from the distribution, or on Debian 12 from the packages of sid.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
LIBRARY=/usr/lib/x86_64-linux-gnu/apptainer
OWN_LIBC=$LIBRARY/libc # sid's programs need a newer C library than bookworm's, so they get one of their own
export DEBIAN_FRONTEND=noninteractive

# Read sid with lists of its own, from the mirror that this machine uses: nothing of the machine is upgraded.
fetch_from_sid() {
    local mirror keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    mirror=$(bash "$HERE/mirror.sh")
    mkdir -p lists/partial archives/partial
    echo "deb [signed-by=$keyring] $mirror sid main" >sid.list
    local apt=(apt-get -qq -o Dir::Etc::SourceList="$PWD/sid.list" -o Dir::Etc::SourceParts=/dev/null
        -o Dir::State::Lists="$PWD/lists" -o Dir::Cache="$PWD" -o APT::Sandbox::User=root)
    "${apt[@]}" update
    "${apt[@]}" download apptainer libc6 libseccomp2 libsqlite3-0
}

install_from_sid() {
    local folder
    folder=$(mktemp -d)
    (
        cd "$folder"
        fetch_from_sid
        for package in *.deb; do dpkg-deb --extract "$package" unpacked; done
        mkdir -p "$OWN_LIBC" /etc/apptainer
        find unpacked -path '*x86_64-linux-gnu/*.so*' -not -path '*/gconv/*' -not -path '*/apptainer/*' \
            -exec cp --no-dereference {} "$OWN_LIBC" \;
        cp -r unpacked/usr/lib/x86_64-linux-gnu/apptainer/. "$LIBRARY"
        cp -r unpacked/etc/apptainer/. /etc/apptainer
        use_own_libc unpacked/usr/bin/apptainer
        use_own_libc "$LIBRARY/bin/starter"
        mkdir -p /var/lib/apptainer/mnt/session
        install unpacked/usr/bin/apptainer /usr/bin/apptainer # last: whoever finds it finds all of it
    )
    rm -r "$folder"
}

# A forced rpath also reaches the libraries of libraries, such as libsqlite3's libm; a plain one does not.
use_own_libc() {
    patchelf --set-interpreter "$OWN_LIBC/ld-linux-x86-64.so.2" "$1"
    patchelf --force-rpath --set-rpath "$OWN_LIBC" "$1"
}

if ! command -v apptainer >/dev/null && ! command -v singularity >/dev/null; then
    apt-get install -y -qq apptainer 2>/dev/null || install_from_sid
fi
chmod 666 /dev/fuse
apptainer --version 2>/dev/null || singularity --version
