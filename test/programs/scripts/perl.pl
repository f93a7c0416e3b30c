# run: perl
# needs: perl
# ends: 5
# Perl: fork, pipes, signals, sockets, files, sorting, regular expressions, sprintf, local time.
use strict; use warnings; use POSIX qw(:sys_wait_h strftime); use Socket; use File::Temp; use File::Find; use Fcntl qw(:flock SEEK_SET); use IO::Handle; use Time::HiRes qw(usleep time);
$| = 1;
my @pids; for my $i (1 .. 5) { my $p = fork; if (!$p) { exit $i } push @pids, $p } print join(",", map { waitpid($_, 0); $? >> 8 } @pids), "\n";
open(my $in, "-|", "echo from a pipe; exit 3") or die; print <$in>; close $in; print $? >> 8, "\n";
open(my $out, "|-", "sort") or die; print $out "b\na\n"; close $out;
print "backticks ", `echo hi`; print system("exit 4;") >> 8, "\n"; print system("kill -9 \$\$") & 127, "\n";
$SIG{USR1} = sub { print "usr1\n" }; kill USR1 => $$; local $SIG{ALRM} = sub { die "alarm\n" }; eval { alarm 1; select undef, undef, undef, 5; }; print $@;
pipe(my $r, my $w); if (!fork) { close $r; print $w "x" x 100000; exit } close $w; my $n = 0; $n += length while <$r>; print "$n\n"; wait;
socketpair(my $left, my $right, AF_UNIX, SOCK_STREAM, PF_UNSPEC) or die; $left->autoflush(1); print $left "over a socket\n"; print scalar <$right>;
my $d = File::Temp->newdir(DIR => "."); for (1 .. 50) { open my $f, ">", "$d/f$_"; print $f $_; close $f } my $sum = 0; find({ wanted => sub { $sum += -s $_ if -f $_ }, no_chdir => 1 }, "$d"); print "$sum\n";
my %h; $h{length $_}++ for split /\s+/, "a quick brown fox jumps over the lazy dog"; print join(" ", map { "$_=$h{$_}" } sort { $a <=> $b } keys %h), "\n";
print strftime("%Y-%m-%d", gmtime 86400 * 1000), " ", sprintf("%.3f|%08b|%s", 3.14159, 37, "x" x 3), "\n";
open(my $l, "+>", "lock") or die; flock($l, LOCK_EX); if (!fork) { open(my $m, "<", "lock"); print flock($m, LOCK_EX | LOCK_NB) ? "got" : "refused", "\n"; exit } wait; close $l;
my $text = "2024-01-15 and 2023-12-31"; print join("/", $text =~ /(\d+)-(\d+)-(\d+)/g), "\n"; (my $t = $text) =~ s/(\d+)/<$1>/g; print "$t\n";
print join(",", sort { $b <=> $a } map { $_ * $_ } grep { $_ % 2 } 1 .. 9), "\n"; mkdir "dd"; print -d "dd" ? 1 : 0, rmdir("dd"), "\n"; print "errno ", (open(my $x, "<", "missing") ? 0 : $! + 0), "\n";
my $pid = fork; if (!$pid) { $SIG{TERM} = sub { exit 8 }; sleep 10; exit 0 } usleep(100000); kill TERM => $pid; waitpid($pid, 0); print $? >> 8, "\n"; print waitpid(-1, WNOHANG), "\n"; exit 5;
