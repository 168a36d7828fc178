#!/usr/bin/env bash
# Build the image of the test cluster, or find the one that was built from the same files: image.sh DIR CHECKOUT.
# The cache lies outside the checkout, so that another clone on this machine finds it too.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
DIR=$1 CHECKOUT=$2
CACHE=${MSBATCH_IMAGE_CACHE:-/var/tmp/msbatch-images}
NAME=${MSBATCH_TEST_USER:-msbatch}
BASE=$CACHE/base-bookworm
KEY=$(cat "$CHECKOUT"/{requirements.lock,containers/msbatch.def} | sha256sum | cut -c 1-12)
IMAGE=$CACHE/$KEY.sif

# No registry of images is needed: a plain Debian with Python is the base.
make_base() {
    local mirror fresh=$CACHE/base.tmp.$$
    mirror=$(bash "$HERE/mirror.sh")
    debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv bookworm "$fresh" "$mirror" \
        >"$CACHE/debootstrap.log" || { tail "$CACHE/debootstrap.log" >&2 && exit 1; }
    rm -rf "$fresh"/dev/* "$fresh"/var/cache/apt/archives/*.deb
    chmod -R a+rX "$fresh"
    mv "$fresh" "$BASE"
}

# As the ordinary user, with nothing of root's environment. Weak compression: the image is built once and read often.
build_image() {
    find "$CACHE" -maxdepth 1 -name '*.sif*' -mtime +1 -delete                # each takes 5 GB
    rm -rf "$CACHE"/build-temp-* "$CACHE"/bundle-temp-* "$CACHE"/.*.sif.tmp.* # of a build that was killed
    runuser -u "$NAME" -- env -i HOME="$(getent passwd "$NAME" | cut -d: -f6)" PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin \
        APPTAINER_TMPDIR="$CACHE" "$CHECKOUT/.venv/bin/msbatch" container build "$IMAGE" \
        --wheels "$CHECKOUT/.wheels" --bootstrap localimage --base "$BASE" --squashfs '-comp zstd -Xcompression-level 1' \
        >"$CACHE/build.log" 2>&1 || { tail -n 20 "$CACHE/build.log" >&2 && exit 1; }
}

install -d -o "$NAME" -g "$NAME" -m 755 "$CACHE"
exec 9>"$CACHE/lock" && flock 9 # two clusters at once build one image
[ -d "$BASE" ] || make_base
[ -f "$IMAGE" ] || build_image
ln -sfn "$IMAGE" "$DIR/image.sif"
