# Packs one order every PAUSE seconds and leaves a heartbeat.
order=0
while true; do
  order=$((order + 1))
  echo "$(busybox date -u +%H:%M:%S) packed order $order"
  touch /run/worker/heartbeat
  sleep "${PAUSE:-2}"
done
