#!/usr/bin/env bash
# A throw-away real Slurm on one machine, as root, all of it under one folder: slurm.sh start|stop DIR [options].
# Options of start: --no-accounting, --max-array-size N, --preempt-signal. Starting again with others restarts it with them.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
COMMAND=$1 DIR=$2
shift 2
PORT=${MSBATCH_CLUSTER_PORT:-$(cat "$DIR/port" 2>/dev/null || echo 17000)} # this and the twelve after it
USER_NAME=${MSBATCH_TEST_USER:-msbatch}
export SLURM_CONF=$DIR/slurm.conf

fail() {
    tail -n 5 "$DIR"/log/*.out >&2
    echo "slurm.sh: $1; see the logs in $DIR/log" >&2 && exit 1
}

# until_true SECONDS COMMAND...: wait until the command succeeds.
until_true() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.1
    done
}

# A process of this cluster knows its configuration; another one that got the same number after a restart does not.
ours() { grep -qzFx "SLURM_CONF=$SLURM_CONF" "/proc/$1/environ" 2>/dev/null; }
alive() { [ -s "$DIR/run/$1.pid" ] && ours "$(cat "$DIR/run/$1.pid")"; }
gone() { ! alive "$1"; }
end() {
    alive "$1" || return 0
    kill "${2:--TERM}" "$(cat "$DIR/run/$1.pid")" 2>/dev/null || true
    until_true 10 gone "$1" || kill -KILL "$(cat "$DIR/run/$1.pid")"
}
# spawn NAME COMMAND...: start a daemon away from this terminal, unless it runs.
spawn() {
    local name=$1
    shift
    alive "$name" && return
    setsid "$@" </dev/null >>"$DIR/log/$name.out" 2>&1 &
    echo $! >"$DIR/run/$name.pid"
}

make_folders() {
    mkdir -p "$DIR"/{log,run,munge,mysql,state,spool-v1,spool-v2}
    chmod 755 "$DIR" "$DIR"/{run,log}
    echo "$PORT" >"$DIR/port"
    chown munge "$DIR/munge" && chown mysql "$DIR/mysql"
    chmod 711 "$DIR/munge"
}

start_munge() {
    local key=$DIR/munge/key
    [ -s "$key" ] || (umask 277 && head -c 128 /dev/urandom >"$key" && chown munge "$key")
    spawn munged setpriv --reuid=munge --regid=munge --clear-groups munged --foreground --force --key-file="$key" --socket="$DIR/munge/socket" \
        --pid-file="$DIR/munge/pid" --seed-file="$DIR/munge/seed" --num-threads=4
    until_true 10 munge --socket="$DIR/munge/socket" --no-input || fail "munge does not answer"
}

start_database() {
    [ -d "$DIR/mysql/mysql" ] ||
        mariadb-install-db --no-defaults --user=mysql --datadir="$DIR/mysql" >"$DIR/log/mariadb-install.out" 2>&1
    spawn mariadbd mariadbd --no-defaults --user=mysql --datadir="$DIR/mysql" --socket="$DIR/mysql/socket" --port=$((PORT + 6)) \
        --bind-address=127.0.0.1 --pid-file="$DIR/mysql/pid" --innodb-buffer-pool-size=64M --innodb-log-file-size=32M
    until_true 30 query "select 1" || fail "MariaDB does not answer"
    query "create database if not exists slurm; create user if not exists slurm@'127.0.0.1' identified by 'slurm';
           grant all on slurm.* to slurm@'127.0.0.1'"
}
query() { mariadb --no-defaults --socket="$DIR/mysql/socket" --execute "$1"; }

start_accounting() {
    spawn slurmdbd slurmdbd -D
    until_true 20 sacctmgr --noheader list cluster || fail "slurmdbd does not answer"
    [ -n "$(sacctmgr --noheader list association user="$USER_NAME")" ] && return
    for words in "cluster test" "account lab" "account busy" "user root account=lab" "user $USER_NAME account=lab"; do
        sacctmgr --immediate --quiet add $words >/dev/null || true # those that are there already are refused
    done
}

# The first process that finds a changed configuration restarts the controller and the nodes; jobs live on.
start_scheduler() {
    if ! cmp -s "$SLURM_CONF" "$DIR/running.conf"; then
        for daemon in slurmctld d-v1 d-v2; do end "$daemon"; done
    fi
    spawn slurmctld slurmctld -D -f "$SLURM_CONF"
    for node in v1 v2; do spawn "d-$node" slurmd -D -N "$node" -f "$SLURM_CONF"; done
    until_true 20 sinfo || fail "slurmctld does not answer"
    scontrol update NodeName=v1,v2 State=RESUME 2>/dev/null || true # Slurm drains a node whose task was slow to die
    until_true 40 nodes_answer || fail "the two nodes do not answer"
    cp "$SLURM_CONF" "$DIR/running.conf"
}
nodes_answer() { [ "$(sinfo --noheader --Node --partition low --format '%N %T' | grep -cE '(idle|mixed|allocated|completing)$')" = 2 ]; }

stop_everything() {
    alive slurmctld && squeue --noheader --format %A | sort -u | xargs --no-run-if-empty scancel --quiet || true
    alive slurmctld && until_true 15 queue_empty || true
    for daemon in slurmctld d-v1 d-v2 slurmdbd mariadbd munged; do end "$daemon"; done
    for process in $(pgrep -x slurmstepd); do # steps outlive their daemons, and their jobs outlive them
        ours "$process" && kill -KILL "$process" || true
    done
}
queue_empty() { [ -z "$(squeue --noheader)" ]; }

case $COMMAND in
start)
    make_folders
    bash "$HERE/slurm_conf.sh" "$DIR" "$PORT" "$@"
    start_munge
    if grep -q '^AccountingStorageType=.*slurmdbd' "$SLURM_CONF"; then start_database && start_accounting; fi
    start_scheduler
    ;;
stop) stop_everything ;;
*) fail "there is no command $COMMAND" ;;
esac
