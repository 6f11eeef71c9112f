#include "writ/backends/microvm/suite_root.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <utility>

#include "writ/backends/image/oci_documents.h"
#include "writ/backends/microvm/build_stage.h"
#include "writ/base/child.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"
#include "writ/protocol/digest.h"
#include "writ/protocol/file_digest.h"
#include "writ/protocol/json.h"

namespace writ::backends::microvm {
namespace {

constexpr char kProgram[] = "/usr/bin/mmdebstrap";
constexpr char kApt[] = "/usr/bin/apt-get";
constexpr std::chrono::hours kBound{1};
constexpr std::chrono::minutes kAskBound{1};
constexpr std::uint64_t kMaxSaid = 4u << 20;
constexpr std::size_t kMaxWord = 128;
constexpr std::size_t kMaxPackages = 1000;

// What differs from one making to the next, or names where the packages came from. Nothing of the
// order is in it. Not /tmp: there is what keeps mmdebstrap's apt in the new root - without it, its
// own cleaning up is done to this host; and that empties /tmp, lists and caches.
constexpr char kTidy[] =
    "cd \"$1\" && rm -rf etc/machine-id etc/hostname etc/resolv.conf etc/apt/sources.list "
    "etc/apt/sources.list.d etc/apt/auth.conf.d etc/*- var/lib/dbus/machine-id "
    "var/cache/ldconfig/aux-cache var/cache/debconf/*-old var/lib/dpkg/*-old "
    "var/lib/systemd/random-seed var/lib/systemd/catalog/database etc/ssh/ssh_host_* && "
    "mkdir -p etc/apt/sources.list.d && find var/log -type f -delete";

// As root, all that it has no need to write is read-only for it: whatever its maintainer scripts,
// hooks and its own cleaning up take for the new root, this host keeps what it has.
constexpr char kUnshare[] = "/usr/bin/unshare";
constexpr char kHostKept[] =
    "for at in /boot /etc /home /opt /root /srv /usr /var/cache /var/lib /var/log; do "
    "[ -d \"$at\" ] || continue; mount --rbind \"$at\" \"$at\" && "
    "mount -o remount,bind,ro \"$at\" || exit 1; done; exec \"$@\"";

bool IsLowerOrDigit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

// Debian policy 5.6.1: at least two of these, the first one a letter or digit.
bool IsPackage(std::string_view word) {
  const auto equals = word.find('=');
  const std::string_view name = word.substr(0, equals);
  const std::string_view version =
      equals == std::string_view::npos ? std::string_view("0") : word.substr(equals + 1);
  return word.size() <= kMaxWord && name.size() >= 2 && IsLowerOrDigit(name.front()) &&
         std::all_of(
             name.begin(), name.end(),
             [](char c) { return IsLowerOrDigit(c) || c == '+' || c == '-' || c == '.'; }) &&
         !version.empty() && std::all_of(version.begin(), version.end(), [](char c) {
           return IsLowerOrDigit(c) || (c >= 'A' && c <= 'Z') || c == '.' || c == '+' || c == '~' ||
                  c == ':' || c == '-';
         });
}

bool IsSuite(std::string_view word) {
  return !word.empty() && word.size() <= kMaxWord && word.front() >= 'a' && word.front() <= 'z' &&
         std::all_of(word.begin(), word.end(),
                     [](char c) { return IsLowerOrDigit(c) || c == '-' || c == '.'; });
}

// Its standard output; what it said of itself where it failed.
Result<std::string> Ask(SpawnOptions spawn, std::chrono::milliseconds bound) {
  WRIT_ASSIGN(Pipe said, MakePipe());
  spawn.fds.push_back({said.write_end.get(), 1});
  WRIT_ASSIGN(Child child, Child::Spawn(spawn));
  said.write_end.reset();
  auto text = ReadAll(said.read_end.get(), kMaxSaid);
  WRIT_ASSIGN(auto status, child.Wait(bound));
  if (!status || status->ShellCode() != 0)
    return Error{ErrorKind::kUnavailable, "suite.apt", spawn.argv.front() + " did not answer"};
  return text;
}

Result<std::string> HostTargets() {
  if (::access(kApt, X_OK) != 0)
    return Error{ErrorKind::kNotFound, "suite.no_apt",
                 "this host has no apt to say where packages are", "name a file with --sources"};
  SpawnOptions spawn;
  spawn.path = kApt;
  spawn.argv = {"apt-get", "indextargets", "--format", kTargetFormat, "Created-By: Packages"};
  spawn.env = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"};
  return Ask(std::move(spawn), kAskBound);
}

// The last of its lines that says what went wrong.
std::string LastWords(const std::string& log) {
  std::string last;
  for (std::size_t at = 0; at < log.size();) {
    const auto end = std::min(log.find('\n', at), log.size());
    const std::string line = log.substr(at, end - at);
    if (line.starts_with("E: ") && !line.starts_with("E: mmdebstrap failed")) return line.substr(3);
    if (!line.empty()) last = line;
    at = end + 1;
  }
  return last;
}

Status Debootstrap(const SuiteOrder& order, const std::string& sources, const std::string& tar,
                   const std::string& log) {
  SpawnOptions spawn;
  spawn.path = kProgram;
  if (::geteuid() == 0) {
    spawn.path = kUnshare;
    spawn.argv = {"unshare", "--mount", "--propagation", "private",
                  "/bin/sh", "-c",      kHostKept,       "sh"};
  }
  spawn.argv.insert(
      spawn.argv.end(),
      {::geteuid() == 0 ? kProgram : "mmdebstrap", "--quiet", "--variant=minbase", "--format=tar",
       "--aptopt=APT::Install-Recommends \"false\"", std::string("--customize-hook=") + kTidy});
  std::string included;
  for (const std::string& package : order.packages)
    included += (included.empty() ? "" : ",") + package;
  if (!included.empty()) spawn.argv.push_back("--include=" + included);
  spawn.argv.insert(spawn.argv.end(), {order.suite, tar, sources});
  spawn.env = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "HOME=/", "SOURCE_DATE_EPOCH=0",
               "TMPDIR=/var/tmp"};
  UniqueFd out(::open(log.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!out) return SysError(errno, "suite.log", "cannot make a file in /var/tmp");
  spawn.fds = {{out.get(), 1}, {out.get(), 2}};
  WRIT_ASSIGN(Child child, Child::Spawn(spawn));
  WRIT_ASSIGN(auto status, child.Wait(kBound));
  if (status && status->ShellCode() == 0) return {};
  auto said = ReadFile(log, kMaxSaid);
  return Error{ErrorKind::kUnavailable, "suite.failed",
               status ? "mmdebstrap failed: " + LastWords(said ? *said : std::string())
                      : "mmdebstrap did not end within an hour",
               "`apt-get update` says whether the packages can be reached; is the suite's key in "
               "/etc/apt/trusted.gpg.d?"};
}

// The archive as the one layer of an OCI image, so that it comes in as every image does.
class Layout {
 public:
  explicit Layout(std::string path) : path_(std::move(path)) {}

  Status Make(const std::string& tar) {
    WRIT_ASSIGN(blobs_, MakeDirectories(path_ + "/blobs/sha256", 0700));
    WRIT_ASSIGN(root_, OpenDirectory(path_));
    WRIT_ASSIGN(const protocol::Digest layer, protocol::DigestOfFile(tar));
    struct stat st {};
    if (::stat(tar.c_str(), &st) != 0 ||
        ::rename(tar.c_str(), (path_ + "/blobs/sha256/" + layer.ToHex()).c_str()) != 0)
      return SysError(errno, "suite.layout", "cannot put the layer into its place");
    WRIT_ASSIGN(
        json::Value config,
        Blob("application/vnd.oci.image.config.v1+json",
             json::Object{
                 {"architecture", std::string(image::HostArchitecture())},
                 {"os", "linux"},
                 {"rootfs", json::Object{{"type", "layers"},
                                         {"diff_ids",
                                          json::Value::Texts({image::ImageDigestText(layer)})}}}}));
    json::Array layers;
    layers.push_back(json::Object{{"mediaType", "application/vnd.oci.image.layer.v1.tar"},
                                  {"digest", image::ImageDigestText(layer)},
                                  {"size", static_cast<std::int64_t>(st.st_size)}});
    WRIT_ASSIGN(json::Value manifest,
                Blob("application/vnd.oci.image.manifest.v1+json",
                     json::Object{{"schemaVersion", 2},
                                  {"mediaType", "application/vnd.oci.image.manifest.v1+json"},
                                  {"config", std::move(config)},
                                  {"layers", std::move(layers)}}));
    json::Array manifests;
    manifests.push_back(std::move(manifest));
    WRIT_TRY(WriteFileAtomic(
        root_.get(), "index.json",
        json::Write(json::Object{{"schemaVersion", 2}, {"manifests", std::move(manifests)}}),
        0600));
    return WriteFileAtomic(root_.get(), "oci-layout",
                           json::Write(json::Object{{"imageLayoutVersion", "1.0.0"}}), 0600);
  }

 private:
  Result<json::Value> Blob(const std::string& type, json::Object document) {
    const std::string bytes = json::Write(std::move(document));
    const protocol::Digest digest = protocol::Sha256(bytes);
    WRIT_TRY(WriteFileAtomic(blobs_.get(), digest.ToHex(), bytes, 0600));
    return json::Value(json::Object{{"mediaType", type},
                                    {"digest", image::ImageDigestText(digest)},
                                    {"size", static_cast<std::int64_t>(bytes.size())}});
  }

  std::string path_;
  UniqueFd root_;
  UniqueFd blobs_;
};

}  // namespace

Status CheckSuite(const SuiteOrder& order) {
  if (!IsSuite(order.suite))
    return Error{ErrorKind::kInvalid, "suite.name", "this cannot be the name of a suite",
                 "a suite is called like bookworm or stable"};
  if (order.packages.size() > kMaxPackages)
    return Error{ErrorKind::kInvalid, "suite.package", "over 1000 packages are named"};
  for (const std::string& package : order.packages)
    if (!IsPackage(package))
      return Error{ErrorKind::kInvalid, "suite.package",
                   "this cannot be the name of a package: " + package.substr(0, kMaxWord),
                   "lower-case letters, digits, '+', '-' and '.', and =VERSION where one is meant"};
  return {};
}

Result<std::string> SourcesFor(std::string_view suite, std::string_view targets) {
  std::vector<std::string> lines;
  while (!targets.empty()) {
    const auto end = std::min(targets.find('\n'), targets.size());
    const std::string_view line = targets.substr(0, end);
    targets.remove_prefix(std::min(end + 1, targets.size()));
    const auto last = line.rfind('|');
    const auto middle = last == 0 || last == std::string_view::npos ? std::string_view::npos
                                                                    : line.rfind('|', last - 1);
    if (middle == std::string_view::npos) continue;
    const std::string_view release = line.substr(middle + 1, last - middle - 1);
    const bool meant = release == suite || (release.starts_with(suite) &&
                                            (release.substr(suite.size()) == "-updates" ||
                                             release.substr(suite.size()) == "-security"));
    if (!meant) continue;
    std::string out = "deb ";
    out.append(line.substr(0, middle)).append(" ").append(release).append(" ");
    out.append(line.substr(last + 1)).append("\n");
    if (std::find(lines.begin(), lines.end(), out) == lines.end()) lines.push_back(std::move(out));
  }
  if (lines.empty())
    return Error{ErrorKind::kNotFound, "suite.unknown",
                 "apt of this host has no packages of the suite " + std::string(suite),
                 "name a file of apt's sources with --sources, or add them in "
                 "/etc/apt/sources.list.d"};
  std::string out;
  for (const std::string& line : lines) out += line;
  return out;
}

Result<image::ImageRecord> ImportSuite(const image::ImageStore& store, const SuiteOrder& order,
                                       const std::function<void(const std::string&)>& told) {
  WRIT_TRY(CheckSuite(order));
  if (::access(kProgram, X_OK) != 0)
    return Error{ErrorKind::kNotFound, "suite.mmdebstrap", "mmdebstrap is not here",
                 "apt-get install mmdebstrap"};
  WRIT_ASSIGN(BuildStage stage, BuildStage::Make());
  WRIT_ASSIGN(UniqueFd dir, OpenDirectory(stage.path()));
  std::string sources = order.sources;
  if (sources.empty()) {
    WRIT_ASSIGN(std::string targets, HostTargets());
    WRIT_ASSIGN(std::string lines, SourcesFor(order.suite, targets));
    sources = stage.path() + "/sources.list";
    WRIT_TRY(WriteFileAtomic(dir.get(), "sources.list", lines, 0644));
  }
  // Its helpers in a user namespace pass through.
  if (::fchmod(dir.get(), 0711) != 0)
    return SysError(errno, "suite.stage", "cannot open the stage");
  if (told) told("bringing packages of " + order.suite);
  WRIT_TRY(Debootstrap(order, sources, stage.path() + "/root.tar", stage.path() + "/log"));
  Layout layout(stage.path() + "/layout");
  WRIT_TRY(layout.Make(stage.path() + "/root.tar"));
  if (told) told("unpacking");
  return store.Import(stage.path() + "/layout", {});
}

}  // namespace writ::backends::microvm
