# Run once, by the entrypoint of the image, on an empty data directory. Filers list in the order of
# bytes, which is LC_COLLATE C.
set -eu
psql -v ON_ERROR_STOP=1 -v sfs="$SFS_PASSWORD" -v filer="$FILER_PASSWORD" -U "$POSTGRES_USER" -d postgres <<'SQL'
CREATE ROLE sfs LOGIN PASSWORD :'sfs';
CREATE ROLE filer LOGIN PASSWORD :'filer';
CREATE DATABASE sfs OWNER sfs TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
CREATE DATABASE filer OWNER filer TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
REVOKE CONNECT ON DATABASE sfs, filer FROM PUBLIC;
SQL
