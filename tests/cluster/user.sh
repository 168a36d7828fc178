#!/usr/bin/env bash
# Make the ordinary user of the test cluster and let it reach the checkout: user.sh make|leave DIR CHECKOUT.
set -euo pipefail
COMMAND=$1 DIR=$2 CHECKOUT=$3
NAME=${MSBATCH_TEST_USER:-msbatch}
OPENED=$DIR/opened-folders # what `leave` closes again

as_user() { runuser -u "$NAME" -- "$@"; }

make_user() {
    id "$NAME" >/dev/null 2>&1 || useradd --create-home --home-dir "/home/$NAME-test" --shell /bin/bash "$NAME"
    grep -q "^$NAME:" /etc/subuid || usermod --add-subuids 100000-165535 --add-subgids 100000-165535 "$NAME"
    install -d -o "$NAME" -g "$NAME" -m 700 "$DIR/work"
}

# Let this one user pass through the folders above a path, such as /root; it still cannot list them.
open_way() {
    local folder
    folder=$(dirname "$1")
    [ "$folder" = / ] || open_way "$folder"
    as_user test -x "$folder" && return
    setfacl --modify "user:$NAME:x" "$folder"
    echo "$folder" >>"$OPENED"
}

check_reach() {
    as_user "$CHECKOUT/.venv/bin/msbatch" --version >/dev/null ||
        { echo "user.sh: the user $NAME cannot run $CHECKOUT/.venv/bin/msbatch: make its files readable" >&2 && exit 1; }
}

close_ways() {
    [ -f "$OPENED" ] || return 0
    while read -r folder; do setfacl --remove "user:$NAME" "$folder"; done <"$OPENED"
    rm "$OPENED"
}

case $COMMAND in
make)
    make_user
    for path in "$DIR/." "$CHECKOUT/." "$(readlink -f "$CHECKOUT/.venv/bin/python")"; do open_way "$path"; done
    check_reach
    ;;
leave) close_ways ;;
esac
