#!/bin/bash
# The demo: builds the guest if need be, then hands over to demo.py, which cleans up after itself. demo.sh --stop FOLDER ends the
# fleet that --keep left in FOLDER.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bin=build/dev/bin guest=build/guest
case " $* " in *" --stop "*) ;; *) guest/build-guest.sh "$guest" ;; esac
exec python3 demo/demo.py --bin "$bin" --guest "$guest" "$@"
