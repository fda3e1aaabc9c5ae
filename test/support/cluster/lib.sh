# Sourced by the other scripts: where things are, and what the clusters' addresses are. Every value can be set from outside.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin # which su leaves out
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${DMAAS_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/dmaas-testcluster} # built programs and images
clusters=${KUBELAB_CLUSTERS:-$cache/clusters}                             # one directory for each running cluster
bin=$cache/bin
images=$cache/images

# All addresses lie in 198.18.0.0/15, the block set aside for test networks (RFC 2544), which no real network uses. Host and
# node namespaces both have a blackhole route for the whole block, so that nothing to an unused address leaves the machine.
block=198.18.0.0/15
bridge=kubelab0
host_address=198.18.0.1 # of the host on the bridge: a server that listens on it can be reached from the pods of all clusters

# addresses INDEX: sets the addresses of the cluster with that index (1 to 99).
addresses() {
  node_address=198.18.0.$((10 + $1))
  pod_cidr=198.18.$((100 + $1)).0/24
  service_cidr=198.19.$1.0/24
  service_address=198.19.$1.1
  dns_address=198.19.$1.10
  host_link=kubelab-h$1
}

say() { echo "$(basename "$0"): $*" >&2; }
die() { say "$*"; exit 1; }

check_name() { [[ $1 =~ ^[a-z][a-z0-9-]{0,30}$ ]] || die "a cluster's name has 1 to 31 of a-z, 0-9 and -, a letter first: '$1'"; }

# alive DIR: whether the cluster of that directory runs. A process is known by its id and start time, as ids are used again.
start_time() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  set -- ${stat##*) }
  echo "${20}"
}
alive() {
  local pid start
  [[ -s $1/init ]] && read -r pid start <"$1/init" && [[ -n $start && $(start_time "$pid") == "$start" ]]
}
