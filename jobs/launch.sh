#!/usr/bin/env bash
# The host side of one task: it owns signals and requeueing, so that the container needs nothing of Slurm.
# usage: launch.sh LAUNCH.CONF PYTHON-ARGUMENTS...
#
# Signals that reach the container kill its file system, so none is sent there. A file asks the task to stop;
# it writes a checkpoint, exits 75, and only then is this element of the array requeued.
# shellcheck disable=SC1090,SC1091,SC2015,SC2153,SC2154,SC2317  # names in capitals come from LAUNCH.CONF; traps call functions
set -u
umask 077

readonly STOPPED=75       # the task wrote a checkpoint because it was asked to stop
readonly REQUEUE_TRIES=10 # the controller may be restarting
readonly RESERVE_S=20     # before the time limit: what requeueing takes

# A run that is shared with a group has folders that it may enter.
let_group_read() { case $(stat -c %a "${1%/*}") in 2750) umask 027 ;; esac; }

source "${BASH_SOURCE[0]%/*}/container.sh"
started=$(date +%s)

# --- what is said to the task, and about it -------------------------------------------------------

say() { echo "[launch $(date '+%F %T')] $*"; }

# The cause is written whole or not at all; the first one stays.
ask_to_stop() {
    [ -e "$LAUNCH.stop" ] || { echo "$1" >"$LAUNCH.stop.$BASHPID" && mv -n "$LAUNCH.stop.$BASHPID" "$LAUNCH.stop"; }
    rm -f "$LAUNCH.stop.$BASHPID"
}

stop_cause() { cat "$LAUNCH.stop" 2>/dev/null; }

# write_end EXIT CAUSE REQUEUED
write_end() {
    local text
    text=$(printf '%s' "$2" | tr -d '\\"' | tr '\n' ' ')
    printf '{"exit": %d, "cause": "%s", "requeued": %s, "host": "%s", "started": %d, "ended": %d}\n' \
        "$1" "$text" "$3" "$(hostname -s)" "$started" "$(date +%s)" 1<>"$LAUNCH.room" && mv "$LAUNCH.room" "$LAUNCH.end"
}

# A task on a full disk cannot write down why it failed.
disk_is_full() {
    local full=0
    head -c 65536 /dev/zero >"$LAUNCH.probe" 2>/dev/null || full=1
    rm -f "$LAUNCH.probe"
    [ $full = 1 ]
}

# refuse WORDS: the task cannot start here. What one of several nodes says is passed on by the first one's launcher.
refuse() {
    say "$*" >&2
    echo "$*" >"$LAUNCH.cause"
    exit 1
}

# read_conf LAUNCH.CONF: it is run as a script, and the pickles beside it as programs, so nobody else may have made them.
read_conf() {
    local strange folder=${1%/*}
    local -a others=('(' -perm /022 -o ! -user "$(id -u)" -o -type l ')')
    local -a run=('(' -name '*.pkl' -o -name '*.conf' ')')
    # submitit may rename a pickle meanwhile
    strange=$(find "$folder" -maxdepth 0 "${others[@]}" &&
        find "$folder" -ignore_readdir_race -maxdepth 1 "${run[@]}" "${others[@]}") ||
        refuse "it cannot be looked at: $folder"
    [ -z "$strange" ] || refuse "others can write to it, so nothing of it is run: ${strange%%$'\n'*}; see that it is yours (chmod go-w) and submit again"
    set +u # a site's scratch may name what this node does not set
    source "$1"
    set -u
}

# --- the payload --------------------------------------------------------------------------------------

# run_payload PYTHON-ARGUMENTS: replaces this process.
run_payload() {
    export PYTHONPATH=$CODE PYTHONSAFEPATH=1 HF_HUB_OFFLINE=1
    export MSBATCH_LAUNCH=$LAUNCH MSBATCH_OWNER=$$ MSBATCH_NODES=${SLURM_JOB_NUM_NODES:-1} MSBATCH_NODE_RANK=${SLURM_NODEID:-0}
    touch "$LAUNCH.ready" # unpacking the image is no silence of the task
    if [ "$RUNTIME" = none ]; then
        export TMPDIR=$private
        exec setsid "$PYTHON" "$@"
    fi
    container_options
    export_to_container
    exec setsid "$program" --silent "${options[@]}" "$image" python "$@"
}

# A launcher that was killed could not remove its task's folder on the node: the next one does.
sweep_scratch() {
    local folder pid
    for folder in "$SCRATCH/msbatch-task.$(hostname -s)".*; do
        pid=${folder#"$SCRATCH/msbatch-task.$(hostname -s)."}
        [ -O "$folder" ] && [ ! -L "$folder" ] && ! kill -0 "${pid%%.*}" 2>/dev/null && rm -rf "$folder"
    done
}

# Module systems read names that are not set, and a batch script is no login shell.
load_modules() {
    local module
    set +u
    type module >/dev/null 2>&1 || source /etc/profile >/dev/null 2>&1
    for module in "${MODULES[@]}"; do
        module load "$module" || refuse "the module $module cannot be loaded: see cluster.modules"
    done
    set -u
}

prepare_node() {
    [ ${#MODULES[@]} = 0 ] || load_modules
    [ -n "$SCRATCH" ] || refuse "cluster.scratch is empty on this node"
    mkdir -p "$SCRATCH" 2>/dev/null
    sweep_scratch
    private=$(mktemp -d "$SCRATCH/msbatch-task.$(hostname -s).$$.XXXXXX") || refuse "scratch cannot be written: $SCRATCH"
    [ "$RUNTIME" = none ] && return
    program=$(find_program) || refuse "neither apptainer nor singularity is on this node: set cluster.modules"
    check_image
    image=$IMAGE
    if [ "$RUNTIME" = sandbox ]; then
        image=$(unpacked) && exec 8>>"$image.use" && flock -s 8 && return
        image=$IMAGE
        say "the image could not be unpacked to $SCRATCH: it runs as it is"
    fi
}

# --- one node of several: a step that runs the payload there ------------------------------------------

private=
if [ "${1:-}" = --node ]; then
    let_group_read "$2"
    read_conf "$2"
    shift 2
    trap '' TERM USR2
    trap '[ -z "$private" ] || rm -rf "$private"' EXIT
    prepare_node
    run_payload "$@" &
    wait $!
    exit $?
fi

# --- the whole task -------------------------------------------------------------------------------------

conf=$1
shift
let_group_read "$conf"
job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}}
job=${job:-$SLURM_JOB_ID}
export LAUNCH=${conf%/*}/launches/$job.${SLURM_RESTART_COUNT:-0}
terminated=0
killed=0
cause=
sentinel=
mkdir -p "${LAUNCH%/*}"
rm -f "$LAUNCH".* "${conf%/*}/$job"_*.save_tmp # submitit gives up where a kill left one
hostname -s >"$LAUNCH.start"
printf '%512s' '' >"$LAUNCH.room" # for its end: by then the disk may be full

why() { [ $(($(date +%s) + LEAD_S + 75)) -ge "$limit" ] && echo "time limit" || echo preempted; }
clean_up() {
    [ -e "$LAUNCH.end" ] || write_end 1 "$(cat "$LAUNCH.cause" 2>/dev/null)" false
    [ -z "$private" ] || rm -rf "$private"
    kill "$sentinel" 2>/dev/null
}
trap clean_up EXIT
read_conf "$conf"
limit=${SLURM_JOB_END_TIME:-$((started + TIME_MIN * 60))}
trap 'ask_to_stop "$(why)"' USR2
trap 'terminated=1; ask_to_stop terminated' TERM

# A step of its own hears of a preemption with grace, which the batch script is not told.
start_sentinel() {
    local names=(-u SLURM_GPUS -u SLURM_GPUS_PER_NODE -u SLURM_GPUS_PER_TASK -u SLURM_TRES_PER_TASK -u SLURM_NTASKS_PER_NODE)
    export -f ask_to_stop
    env "${names[@]}" srun --quiet --overlap --export=ALL --nodes=1 --ntasks=1 --cpus-per-task=1 --mem=0 --gres=none --input=none --output=none \
        bash -c 'trap "ask_to_stop preempted" TERM USR2; while :; do sleep 1 & wait $!; done' 2>/dev/null &
    sentinel=$!
}

start_payload() {
    if [ "${SLURM_JOB_NUM_NODES:-1}" -gt 1 ]; then
        setsid srun --overlap --kill-on-bad-exit=1 --nodes="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 --input=none --export=ALL \
            --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" \
            bash "${BASH_SOURCE[0]}" --node "$conf" "$@" &
    else
        prepare_node
        run_payload "$@" &
    fi
    payload=$!
}

# The time of the last sign of life; getting ready counts as one.
last_beat() { stat -c %Y "$LAUNCH.beat" 2>/dev/null || stat -c %Y "$LAUNCH.ready" 2>/dev/null || date +%s; }

overdue() {
    local now
    now=$(date +%s)
    [ "$HANG_S" -gt 0 ] && [ $((now - $(last_beat))) -ge "$HANG_S" ] && cause=hung && return
    [ -e "$LAUNCH.stop" ] && [ "$now" -ge $((limit - RESERVE_S)) ] && cause=$(stop_cause)
}

# The warning of a controller that is away when it is due never comes.
warn_in_time() { [ $(($(date +%s) + LEAD_S)) -lt "$limit" ] || [ -e "$LAUNCH.stop" ] || ask_to_stop "time limit"; }

watch_payload() {
    while kill -0 "$payload" 2>/dev/null; do
        warn_in_time
        if [ $killed = 0 ] && overdue; then
            say "no answer ($cause): the task is killed"
            kill -KILL -- "-$payload" 2>/dev/null
            killed=1
        fi
        sleep 1 &
        wait $!
    done
    wait "$payload"
    code=$?
}

# A node that was given up on may still be alive when the task runs elsewhere already.
superseded() { [ -e "${conf%/*}/launches/$job.$((${SLURM_RESTART_COUNT:-0} + 1)).start" ]; }

# A task that ends before its first attempt is on record is not bounded by its attempts.
never_began() { [ "$cause" != preempted ] && [ ! -e "$LAUNCH.beat" ] && [ "${SLURM_RESTART_COUNT:-0}" -ge 3 ]; }

# Requeueing after a TERM would undo the user's scancel; Slurm itself requeues what it preempted.
should_requeue() {
    [ "$REQUEUE" = yes ] && [ $terminated = 0 ] && ! superseded && ! never_began || return 1
    [ $code = $STOPPED ] || [ $killed = 1 ] || { [ $code != 0 ] && [ $code != 1 ] && [ -e "$LAUNCH.stop" ]; }
}

requeue() {
    local try words
    for ((try = 1; ; try++)); do
        words=$(scontrol requeue "$job" 2>&1) && return
        say "$words"
        [ $terminated = 0 ] || return 1
        case $words in
        *"nable to contact"* | *"imed out"*) [ "$(date +%s)" -lt "$limit" ] || return 1 ;; # the controller is away
        *) [ "$try" -lt $REQUEUE_TRIES ] || return 1 ;;
        esac
        sleep 3 & wait $!
    done
}

say "$job, restart ${SLURM_RESTART_COUNT:-0}, on $(hostname -s), limit $(date -d "@$limit" '+%F %T')" | tee /dev/stderr
start_sentinel
start_payload "$@"
watch_payload
cause=${cause:-$(cat "$LAUNCH.cause" 2>/dev/null || stop_cause)}
[ $code = 0 ] || [ -n "$cause" ] || ! disk_is_full || cause="the disk is full"
say "the task ended with $code${cause:+ ($cause)}"
[ $code = 0 ] || sleep 2 & wait $! # a TERM that races with the end is seen first
if should_requeue; then
    write_end $code "$cause" true
    if requeue; then
        say "requeued"
        sleep 60 & wait $! # Slurm ends this script
        exit $code
    fi
    cause="$cause, and Slurm did not requeue it"
fi
write_end $code "$cause" false
exit $code
