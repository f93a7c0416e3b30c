# run: bash
# needs: sqlite3
# timeout: 240
# The sqlite3 shell: 100,000 inserts in one transaction, then some hundreds in their own, queries, backup, integrity.
{ echo 'create table t(id integer primary key, n integer, s text); begin;'; seq 1 100000 | awk '{ print "insert into t(n, s) values(" $1 * 7 % 1000 ", \"row " $1 "\");" }' | tr '"' "'"; echo 'commit;'; } | sqlite3 t.db
sqlite3 t.db 'select count(*), sum(n), max(s) from t'
sqlite3 t.db 'create index i on t(n); select count(*) from t where n = 500; explain query plan select * from t where n = 5;' | tail -2
seq 1 100 | awk "{ print \"insert into t(n, s) values(-1, 'own');\" }" | sqlite3 t.db; sqlite3 t.db "select count(*) from t where s = 'own'"
sqlite3 t.db 'pragma journal_mode=wal; delete from t where id % 2; select count(*) from t; vacuum; pragma integrity_check;'
sqlite3 t.db '.dump' | sqlite3 copy.db; sqlite3 copy.db 'select count(*), sum(n) from t'; sqlite3 t.db '.backup back.db'; sqlite3 back.db 'select count(*) from t'
sqlite3 :memory: "with recursive c(x) as (values(1) union all select x + 1 from c where x < 1000) select sum(x) from c"; sqlite3 t.db 'select * from missing'; echo "status $?"; ls
