# GET /stock.sh?item=NAME -> how many there are. Anything odd in NAME is dropped.
item=$(printf '%s' "${QUERY_STRING#item=}" | busybox tr -cd 'a-z0-9-' | busybox cut -c 1-40)
printf 'Status: 200 OK\r\nContent-Type: application/json\r\n\r\n'
printf '{"item":"%s","stock":%d,"version":"%s","host":"%s"}\n' \
  "$item" "$((${#item} * 7))" "$VERSION" "$(busybox hostname)"
