#include "integration/clients/clean_root.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <stdexcept>

namespace bmcpair::integration::clients {

namespace {

// Arguments: the build's bin and lib folders, the shared folder, the program with its arguments. The parent's death
// signal is asked for again at the end, for a change of user clears it.
constexpr const char* kScript = R"(
bin=$1 lib=$2 shared=$3
shift 3
mount --make-rprivate /
root=/mnt
mount -t tmpfs -o mode=755,size=64m root $root
cd $root
mkdir usr etc proc dev tmp home shared opt opt/bmcpair opt/bmcpair/bin opt/bmcpair/lib
for name in bin sbin lib lib64 lib32; do [ ! -L /$name ] || ln -s usr/$name $name; done
mount --bind /usr usr
mount --bind "$bin" opt/bmcpair/bin
mount --bind "$lib" opt/bmcpair/lib
mount --bind "$shared" shared
for there in usr opt/bmcpair/bin opt/bmcpair/lib; do
  mount -o remount,bind,ro,nosuid $there || mount -o remount,bind,ro $there
done
for device in null zero full urandom; do : >dev/$device; mount --bind /dev/$device dev/$device; done
chmod 1777 tmp home
cp -r /etc/ld.so.cache etc/
printf 'root:x:0:0::/home:/bin/sh\ntester:x:1000:1000::/home:/bin/sh\n' >etc/passwd
printf 'root:x:0:\ntester:x:1000:\n' >etc/group
echo '127.0.0.1 localhost' >etc/hosts
mount -t proc proc proc
mount -o remount,bind,ro $root
mount -t tmpfs -o mode=1777,size=16m tmp tmp
mount -t tmpfs -o mode=1777,size=16m home home
cd /
exec chroot $root setpriv $DROP --pdeathsig KILL --no-new-privs --inh-caps=-all --ambient-caps=-all \
  --bounding-set=-all env -i PATH=/usr/bin:/usr/sbin:/opt/bmcpair/bin HOME=/home LC_ALL=C TZ=UTC "$@"
)";

std::vector<std::string> namespaces(unsigned uid) {
  const std::string id = std::to_string(uid);
  const std::vector<std::string> common = {"--mount", "--pid",  "--ipc",        "--uts",
                                           "--net",   "--fork", "--kill-child", "--mount-proc"};
  std::vector<std::string> out = {"setpriv", "--pdeathsig", "KILL"};
  if (CleanRoot::without_any_privilege()) {
    if (::geteuid() == 0) out.insert(out.end(), {"--reuid=1000", "--regid=1000", "--clear-groups", "--no-new-privs"});
    out.insert(out.end(),
               {"env", "DROP=", "unshare", "--user", "--map-user=" + id, "--map-group=" + id, "--keep-caps"});
  } else {
    out.insert(out.end(), {"env", "DROP=--reuid=" + id + " --regid=" + id + " --clear-groups", "unshare"});
  }
  out.insert(out.end(), common.begin(), common.end());
  return out;
}

}  // namespace

bool CleanRoot::without_any_privilege() {
  static const bool allowed = [] {
    std::vector<std::string> argv = {"setpriv", "--no-new-privs"};
    if (::geteuid() == 0) argv.insert(argv.end(), {"--reuid=1000", "--regid=1000", "--clear-groups"});
    argv.insert(argv.end(), {"unshare", "--user", "--map-user=1000", "--map-group=1000", "--keep-caps", "--mount",
                             "--pid", "--net", "--fork", "--kill-child", "--mount-proc", "sh", "-c",
                             "mount -t tmpfs probe /mnt && test -x \"$0\"", program("bmc_emu")});
    return run(argv).status == 0;
  }();
  return allowed;
}

CleanRoot::CleanRoot(const TemporaryFolder& shared) : shared_(shared.path()) {
  if (::geteuid() == 0 && ::chown(shared_.c_str(), 1000, 1000) != 0)
    throw std::runtime_error("cannot give away " + shared_);
  ::chmod(shared_.c_str(), 0755);
}

std::vector<std::string> CleanRoot::in(const std::vector<std::string>& argv, unsigned uid) const {
  std::vector<std::string> out = namespaces(uid);
  const std::filesystem::path bin = std::filesystem::path(program("bmc_emu")).parent_path();
  out.insert(out.end(),
             {"sh", "-ec", kScript, "clean-root", bin.string(), (bin.parent_path() / "lib").string(), shared_});
  out.insert(out.end(), argv.begin(), argv.end());
  return out;
}

}  // namespace bmcpair::integration::clients
