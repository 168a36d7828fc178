#!/usr/bin/env bash
# Write the configuration of the test cluster: slurm_conf.sh DIR PORT [--no-accounting] [--max-array-size N] [--preempt-signal].
set -euo pipefail
DIR=$1 PORT=$2
shift 2
HOST=$(hostname -s) ACCOUNTING=slurmdbd ARRAY=1001 PARAMETERS=
ENFORCE="AccountingStorageEnforce=associations,limits,qos
AccountingStorageTRES=gres/gpu"
while [ $# -gt 0 ]; do
    case $1 in
    --no-accounting) ACCOUNTING=none ENFORCE= ;;
    --max-array-size) ARRAY=$2 && shift ;;
    --preempt-signal) PARAMETERS=preempt_send_user_signal ;;
    *) echo "slurm_conf.sh: there is no option $1" >&2 && exit 2 ;;
    esac
    shift
done

cat >"$DIR/slurmdbd.conf" <<CONF
AuthType=auth/munge
AuthInfo=socket=$DIR/munge/socket
DbdHost=localhost
DbdPort=$((PORT + 9))
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$((PORT + 6))
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm
LogFile=$DIR/log/slurmdbd.log
PidFile=$DIR/state/slurmdbd.pid
CONF
chmod 600 "$DIR/slurmdbd.conf"

# A GPU without a device file leaves the node invalid; these two stand in, and every machine has them.
echo "NodeName=v[1-2] Name=gpu File=/dev/null,/dev/zero" >"$DIR/gres.conf"

# Node loss is noticed after 20 s, a requeued job waits 10 s (cred_expire) instead of 120, and a task that takes
# more memory than it asked for is killed as cgroups would do it.
cat >"$DIR/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$HOST(127.0.0.1)
SlurmctldPort=$((PORT + 7))
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$DIR/munge/socket,cred_expire=10
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=1500
GresTypes=gpu
ReturnToService=2
SlurmctldPidFile=$DIR/state/slurmctld.pid
SlurmdPidFile=$DIR/spool-%n/pid
SlurmdSpoolDir=$DIR/spool-%n
StateSaveLocation=$DIR/state
SlurmctldLogFile=$DIR/log/slurmctld.log
SlurmdLogFile=$DIR/log/d-%n.log
SlurmdParameters=config_overrides
${PARAMETERS:+SlurmctldParameters=$PARAMETERS}
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
JobAcctGatherParams=OverMemoryKill,UsePss
AccountingStorageType=accounting_storage/$ACCOUNTING
AccountingStorageHost=localhost
AccountingStoragePort=$((PORT + 9))
AccountingStoragePass=$DIR/munge/socket
$ENFORCE
SchedulerParameters=bf_interval=5
SlurmdTimeout=20
MessageTimeout=10
KillWait=10
MaxArraySize=$ARRAY
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=v[1-2] NodeHostname=$HOST NodeAddr=127.0.0.1 Port=[$((PORT + 11))-$((PORT + 12))] CPUs=8 RealMemory=16000 Gres=gpu:2
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 GraceTime=30 MaxTime=INFINITE
PartitionName=nograce Nodes=ALL PriorityTier=1 GraceTime=0 MaxTime=INFINITE
PartitionName=high Nodes=ALL PriorityTier=10 PreemptMode=OFF MaxTime=INFINITE
CONF
