# Answers the readiness probe: 200 while HEALTH is "ok", otherwise 500 with the reason.
if [ "$HEALTH" = ok ]; then
  printf 'Status: 200 OK\r\nContent-Type: text/plain\r\n\r\n'
  echo "version $VERSION is well"
else
  echo "web: version $VERSION refuses to serve, HEALTH is \"$HEALTH\"" >&2
  printf 'Status: 500 Internal Server Error\r\nContent-Type: text/plain\r\n\r\n'
  echo "version $VERSION refuses to serve: HEALTH is \"$HEALTH\""
fi
