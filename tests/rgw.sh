#!/bin/bash
# rgw.sh start|stop|halt|resume|wipe|mem: a throw-away Ceph RGW, one node of it, on loopback.
#
# A real S3 for the tests: it checks signatures of version 2 and 4, policies of
# form POSTs, presigned URLs.  Debian's ceph-mon, ceph-osd, radosgw and
# ceph-common; no ceph-mgr, no systemd, no cephx.  Any user.
#
# halt stops the S3 and keeps what is behind it, resume starts it again.
#
#   RGW_DIR    where everything is kept; made by start, removed by wipe
#   RGW_STORE  memstore (default) or bluestore
#   RGW_ACCESS_KEY, RGW_SECRET_KEY  the S3 user's
#   RGW_BUCKET  made at start; "" for none
#   RGW_DNS_NAME  Host: BUCKET.NAME works too, beside paths
#   RGW_TLS_CERT, RGW_TLS_KEY  files; then there is an https listener too
#
# Ports are free ones: $RGW_DIR/port has the S3's, $RGW_DIR/tls-port the other.
set -eu
# Not a Python of somebody's own: /usr/bin/ceph needs the system's.
PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin
DIR=${RGW_DIR:?}
STORE=${RGW_STORE:-memstore}
AK=${RGW_ACCESS_KEY:-TESTACCESSKEY0000001}
SK=${RGW_SECRET_KEY:-testsecret+key/with0special0chars0123456}
BUCKET=${RGW_BUCKET-testbucket}
export CEPH_CONF=$DIR/ceph.conf
unset CEPH_ARGS http_proxy https_proxy all_proxy

say() { echo "rgw.sh: $*" >&2; }
die() { say "$*"; exit 1; }

# a pid file is trusted only when that process was started with it (a zombie's cmdline is empty)
alive() { # name
  local p; p=$(cat "$DIR/run/$1.pid" 2>/dev/null) || return 1
  [ -n "$p" ] && tr '\0' '\n' 2>/dev/null <"/proc/$p/cmdline" | grep -qxF -- "$DIR/run/$1.pid" && echo "$p"
} 2>/dev/null

stop_one() { # name
  local p i; p=$(alive "$1") || return 0
  kill -TERM "$p" 2>/dev/null || return 0
  for i in $(seq 100); do alive "$1" >/dev/null || return 0; sleep 0.1; done
  say "$1 ($p) did not stop in 10 s: SIGKILL"; kill -KILL "$p" 2>/dev/null || :
}

stop() {
  stop_one rgw; stop_one osd; stop_one mon
}

wipe() {
  # the guard: only ever remove a directory this script made
  [ -e "$DIR" ] || return 0
  [ -e "$DIR/.rgw-sh" ] || die "$DIR was not made by rgw.sh, not removing it"
  rm -rf "$DIR"
}

# The S3 itself, at its port of ceph.conf.
start_rgw() {
  local i
  timeout 60 radosgw -n client.rgw --pid-file "$DIR/run/rgw.pid" >>"$DIR/log/setup" 2>&1 || { tail -20 "$DIR"/log/{setup,client.rgw.log} >&2; die "radosgw did not start"; }
  for i in $(seq 300); do
    curl -s -o /dev/null --noproxy '*' "http://127.0.0.1:$PORT/" && break
    alive rgw >/dev/null || [ "$i" -lt 30 ] || { tail -30 "$DIR/log/client.rgw.log" >&2; die "radosgw died"; }
    [ "$i" -lt 300 ] || die "radosgw does not listen"
    sleep 0.1
  done
}

free_port() {
  perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(
      LocalAddr => "127.0.0.1", Listen => 1)->sockport'
}

# Below the ports that the kernel hands out by itself, so that nobody takes one
# of ours meanwhile; Ceph finds its way around those that are taken.
find_ports() {
  local i
  PORT=$(free_port)
  TLS_PORT=
  [ -z "${RGW_TLS_CERT:-}" ] || TLS_PORT=$(free_port)
  for i in $(seq 50); do
    BASE=$((10000 + (RANDOM % 300) * 64))
    # shellcheck disable=SC2015
    ! (exec 3<>"/dev/tcp/127.0.0.1/$BASE") 2>/dev/null &&
      ! (exec 3<>"/dev/tcp/127.0.0.1/$((BASE+1))") 2>/dev/null && return
  done
  die "no free ports ($i tries)"
}

start() {
  local i
  find_ports
  wipe
  umask 077
  mkdir -p "$DIR"; : >"$DIR/.rgw-sh"
  mkdir -p "$DIR"/{run,log,mon,osd,rgw,crash}
  # Debian 13's own default for it is a relative path.
  local cls; cls=$(find /usr/lib -maxdepth 2 -name rados-classes | head -n 1)
  [ -n "$cls" ] || die "ceph-osd's rados-classes are missing"
  local fsid; fsid=$(cat /proc/sys/kernel/random/uuid)
  cat >"$DIR/ceph.conf" <<CONF
[global]
fsid = $fsid
mon_initial_members = a
mon_host = [v2:127.0.0.1:$BASE,v1:127.0.0.1:$((BASE+1))]
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_port_min = $((BASE+10))
ms_bind_port_max = $((BASE+60))
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
auth_supported = none
ms_mon_client_mode = crc
keyring = $DIR/keyring
run_dir = $DIR/run
crash_dir = $DIR/crash
admin_socket = $DIR/run/\$name.asok
log_file = $DIR/log/\$name.log
log_to_syslog = false
log_to_stderr = false
mon_cluster_log_file = $DIR/log/cluster.log
mon_cluster_log_to_syslog = false
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 2
osd_pool_default_pgp_num = 2
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
rgw_rados_pool_pg_num_min = 2
[mon]
mon_data = $DIR/mon
mon_allow_pool_size_one = true
mon_warn_on_pool_no_redundancy = false
mon_data_avail_crit = 1
mon_max_pg_per_osd = 1000
paxos_propose_interval = 0.05
paxos_min_wait = 0.01
mon_osd_initial_require_min_compat_client = jewel
[osd]
osd_data = $DIR/osd
osd_journal = $DIR/osd/journal
osd_objectstore = $STORE
osd_class_update_on_start = false
osd_class_dir = $cls
osd_scrub_begin_hour = 0
osd_op_num_shards = 2
osd_op_num_threads_per_shard = 1
osd_max_object_name_len = 1024
memstore_device_bytes = 8589934592
bluestore_block_size = 8589934592
bluestore_cache_autotune = false
bluestore_cache_size = 67108864
bluestore_fsck_on_mount = false
[client]
rgw_data = $DIR/rgw
rgw_frontends = beast endpoint=127.0.0.1:$PORT${TLS_PORT:+ ssl_endpoint=127.0.0.1:$TLS_PORT ssl_certificate=$RGW_TLS_CERT ssl_private_key=$RGW_TLS_KEY}
${RGW_DNS_NAME:+rgw_dns_name = $RGW_DNS_NAME}
rgw_enable_apis = s3
rgw_thread_pool_size = 32
rgw_num_rados_handles = 1
rgw_enable_usage_log = false
rgw_enable_ops_log = false
rgw_run_sync_thread = false
rgw_enable_quota_threads = false
rgw_override_bucket_index_max_shards = 1
CONF
  local mons="[v2:127.0.0.1:$BASE,v1:127.0.0.1:$((BASE+1))]"
  monmaptool --create --fsid "$fsid" --addv a "$mons" "$DIR/monmap" >"$DIR/log/setup" 2>&1
  ceph-mon -i a --mkfs --monmap "$DIR/monmap" >>"$DIR/log/setup" 2>&1 || { cat "$DIR/log/setup" >&2; die "mon mkfs failed"; }
  ceph-mon -i a --pid-file "$DIR/run/mon.pid" >>"$DIR/log/setup" 2>&1 || { tail -20 "$DIR"/log/{setup,mon.a.log} >&2; die "mon did not start"; }
  local uuid; uuid=$(cat /proc/sys/kernel/random/uuid)
  timeout 60 ceph osd new "$uuid" >>"$DIR/log/setup" 2>&1 || { cat "$DIR/log/setup" >&2; die "mon does not answer"; }
  ceph-osd -i 0 --mkfs --osd-uuid "$uuid" >>"$DIR/log/setup" 2>&1 || { cat "$DIR/log/setup" >&2; die "osd mkfs failed"; }
  ceph-osd -i 0 --pid-file "$DIR/run/osd.pid" >>"$DIR/log/setup" 2>&1 || { tail -20 "$DIR"/log/{setup,osd.0.log} >&2; die "osd did not start"; }
  # blocks until the osd is up, since it makes the pools
  timeout 120 radosgw-admin user create --uid=test --display-name=test \
    --access-key="$AK" --secret-key="$SK" >"$DIR/log/user.json" 2>>"$DIR/log/setup" \
    || { tail -30 "$DIR/log/setup" >&2; die "user create failed"; }
  start_rgw
  echo "$PORT" >"$DIR/port"
  [ -z "$TLS_PORT" ] || echo "$TLS_PORT" >"$DIR/tls-port"
  for i in $BUCKET; do
    curl -q -sS -f --noproxy '*' -o /dev/null -X PUT --aws-sigv4 aws:amz:us-east-1:s3 --user "$AK:$SK" -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' "http://127.0.0.1:$PORT/$i"
  done
  say "S3 at http://127.0.0.1:$PORT (path style), $STORE, state in $DIR"
}

case ${1:-} in
  start) rc=0; for d in mon osd rgw; do alive $d >/dev/null && die "$d already running in $DIR"; done
         trap 'rc=$?; [ $rc = 0 ] || stop; exit $rc' EXIT; start ;;
  stop) stop ;;
  halt) stop_one rgw ;;
  resume) PORT=$(cat "$DIR/port"); start_rgw ;;
  wipe) stop; wipe ;;
  mem) for d in mon osd rgw; do
         p=$(alive $d) && echo "$d $(grep -E '^Vm(RSS|HWM)' "/proc/$p/status" | tr -s ' \t\n' ' ')"; done ;;
  *) echo "usage: $0 start|stop|halt|resume|wipe|mem" >&2; exit 2 ;;
esac
