# For the tests of this directory, which source it, as root in a fresh Debian.

export DEBIAN_FRONTEND=noninteractive

# The distribution's server with its headers, and a cluster made by Debian's own tools; nothing in it is worth a flush.
make_cluster() {
	scripts/install-packages regress
	version=$(ls /usr/lib/postgresql)
	pg_createcluster "$version" main --locale=C.UTF-8 -o fsync=off --start
}

drop_cluster() {
	pg_dropcluster --stop "$version" main
}

as_postgres() {
	setpriv --reuid=postgres --regid=postgres --init-groups env HOME=/var/lib/postgresql "$@"
}

# All but what the system, the servers' data and the tests write; of the kinds that find is told.
list_files() {
	find / -xdev \( -path /dev -o -path /proc -o -path /srv -o -path /tmp -o -path /run -o -path /var/cache \
		-o -path /var/lib/apt -o -path /var/lib/dpkg -o -path /var/lib/postgresql -o -path /var/log \) -prune -o "$@" -print | sort
}
