# Serves /www until it is told to stop. A version that is not well says so at /healthz.sh
# and soon gives up, as a program does that cannot reach its database.
echo "web: version $VERSION starts"
if [ "$HEALTH" = ok ]; then
  exec busybox httpd -f -p "$PORT_HTTP" -h "$EVENKEEL_FILES/www" -c "$EVENKEEL_FILES/etc/httpd.conf"
fi
busybox httpd -f -p "$PORT_HTTP" -h "$EVENKEEL_FILES/www" -c "$EVENKEEL_FILES/etc/httpd.conf" &
sleep 1.2
echo "web: version $VERSION gives up, HEALTH is \"$HEALTH\"" >&2
exit 3
