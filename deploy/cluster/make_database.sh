#!/bin/sh
# Patroni runs it once, on the first leader: the service's role and its database. $1 is the address of the database.
set -eu
psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --set password="$AVOCET_DB_PASSWORD" "$1" <<'SQL'
CREATE ROLE avocet LOGIN PASSWORD :'password';
CREATE DATABASE avocet OWNER avocet ENCODING 'UTF8' TEMPLATE template0;
SQL
