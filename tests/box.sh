# shellcheck shell=sh
# shellcheck disable=SC2034,SC2154
# A machine with systemd for a test, sourced behind e2e/lib.sh: this machine's
# own files under an overlay in memory, its systemd booted in namespaces of its
# own, without a network but lo.  What happens in there stays in there: only
# $W is the same, as /mnt.
#
#   box_start	returns 1 with $box_why where it can't be had
#   box COMMAND...	runs it in there
#   box_stop

box_pid='' box_group=''

# In a root's directory, in namespaces of its own: what each machine has mounted.
# shellcheck disable=SC2016
box_mounts='mount -t proc proc proc
	mount --bind proc/sys proc/sys
	mount -o remount,bind,ro proc/sys
	mount -t sysfs -o ro sysfs sys
	mount -t tmpfs -o mode=755 tmpfs dev
	for d in null zero full random urandom tty; do
		: >dev/$d
		mount --bind /dev/$d dev/$d
	done
	mkdir -m 1777 dev/shm
	mkdir dev/pts
	mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
	ln -s pts/ptmx dev/ptmx
	ln -s /proc/self/fd dev/fd'

# Run as the first process of the new namespaces; what follows becomes the box.
# shellcheck disable=SC2016
box_boot='
	set -e
	mount -t tmpfs -o mode=755 tmpfs "$1/box"
	cd "$1/box"
	mkdir up work root
	mount -t overlay -o lowerdir=/,upperdir=up,workdir=work overlay root
	cd root
	'"$box_mounts"'
	mount -t cgroup2 cgroup2 sys/fs/cgroup
	mount --bind "$1" mnt
	mount -t tmpfs -o mode=755 tmpfs run
	mount -t tmpfs tmpfs tmp
	# Only what each machine starts, and what is put in there by the test.
	rm -rf etc/systemd/system/*.wants var/log/journal var/lib/tmpnix \
	    etc/tmpnix etc/nginx/sites-enabled usr/sbin/policy-rc.d
	for f in etc/init.d/*; do
		ln -sf /dev/null "etc/systemd/system/${f##*/}.service"
	done
	for f in dbus.service dbus.socket systemd-logind.service \
	    systemd-modules-load.service; do
		ln -sf /dev/null "etc/systemd/system/$f"
	done
	rm -f etc/systemd/system/nginx.service etc/systemd/system/lighttpd.service
	# (Each dpkg would go through all manual pages.)
	rm -f var/lib/man-db/auto-update
	hostname tmpnix-box
	ip link set lo up 2>/dev/null || ifconfig lo up
	mkdir -p oldroot
	pivot_root . oldroot
	umount -l /oldroot
	exec env -i container=tmpnix PATH="$PATH" /lib/systemd/systemd \
	    --log-target=null --show-status=0 --unit=multi-user.target'

box() {
	timeout 120 nsenter -t "$box_init" -a env -i PATH="$PATH" LC_ALL=C HOME=/root "$@"
}
box_up() {
	box_init=$(pgrep -P "$box_pid") &&
	    [ -n "$box_init" ] && case $(box systemctl is-system-running) in
	running | degraded) ;;
	*) false ;;
	esac
}
box_up_or_dead() {
	! kill -0 "$box_pid" || box_up
}
box_no() {
	box_why="$*"
	return 1
}
box_start() {
	[ "$(id -u)" = 0 ] || box_no "needs root" || return
	command -v pivot_root >/dev/null || box_no "pivot_root is missing" || return
	[ -x /lib/systemd/systemd ] || box_no "systemd is missing" || return
	box_top=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
	[ -n "$box_top" ] || box_no "cgroup2 is not mounted" || return
	box_group=$box_top/tmpnix-box.$$
	mkdir "$box_group" 2>/dev/null ||
	    box_no "a control group can't be made" || return
	mkdir -p "$W/box"
	sh -c 'echo $$ >"$1/cgroup.procs" && shift &&
	    exec unshare --pid --mount --uts --ipc --net --cgroup --fork \
	    --kill-child --propagation private "$@"' - "$box_group" \
	    sh -c "$box_boot" - "$W" >"$W/log/box.log" 2>&1 </dev/null &
	box_pid=$!
	until_true 60 box_up_or_dead
	box_up || {
		box_no "$(head -n 1 "$W/log/box.log")"
		box_stop
		return 1
	}
}
box_stop() {
	if [ -n "$box_pid" ]; then
		# (unshare blocks SIGTERM; with it goes all that is in there.)
		kill -9 "$box_pid" 2>/dev/null
		wait "$box_pid" 2>/dev/null
		box_pid=
	fi
	[ -z "$box_group" ] ||
	    until_true 10 box_group_gone || echo "$box_group is left"
	box_group=
}
box_group_gone() {
	find "$box_group" -depth -type d -exec rmdir {} + 2>/dev/null
	[ ! -d "$box_group" ]
}
