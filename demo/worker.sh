#!/bin/bash
# One worker in the foreground: worker.sh NAME STATE_DIR SERVER JOIN_TOKEN_FILE POOL_DIR. SIGTERM ends its agent and its disk
# daemon; VMs run on, and are adopted by the next run.
set -euo pipefail
[ $# = 5 ] || { echo "usage: worker.sh NAME STATE_DIR SERVER JOIN_TOKEN_FILE POOL_DIR" >&2; exit 2; }
name=$1 state=$2 server=$3 token=$4 pool=$5
bin=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/build/dev/bin
mkdir -p "$state/run"
cat >"$state/diskd.toml" <<END
worker = "$name"
state_dir = "$state/diskd"
run_dir = "$state/run"
listen = "unix:$state/run/diskd.sock"
[pools.main]
url = "dir:$pool"
END
cat >"$state/agent.toml" <<END
worker = "$name"
control = "$server"
join_token_file = "$token"
state_dir = "$state/agent"
diskd = "unix:$state/run/diskd.sock"
[pools.main]
url = "dir:$pool"
END
"$bin/ebb-diskd" --config "$state/diskd.toml" &
diskd=$!
"$bin/ebb-agent" --config "$state/agent.toml" &
agent=$!
trap 'kill "$agent" "$diskd" 2>/dev/null; wait; exit 0' INT TERM
wait -n
kill "$agent" "$diskd" 2>/dev/null
wait
