#include "session/artifacts.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <climits>
#include <map>

#include "writ/base/file.h"
#include "writ/base/paths.h"
#include "writ/protocol/json.h"
#include "writ/runner/deadline.h"
#include "writ/workspace/ignore_rules.h"
#include "writ/workspace/path_rules.h"
#include "writ/workspace/quoted_path.h"

namespace writ::runner {
namespace {

constexpr std::size_t kPiece = 256 * 1024;
constexpr std::size_t kMaxDepth = 256;
constexpr std::size_t kMaxPathBytes = 4095;
constexpr std::uint64_t kMaxRedactBytes = 64ull << 20;
constexpr std::size_t kMaxFindings = 100;
constexpr std::chrono::milliseconds kWalkLimit{120'000};

class Collector {
 public:
  explicit Collector(const ArtifactOrder& order)
      : order_(order), deadline_(Deadline::After(*order.clock, kWalkLimit)) {}

  ArtifactSet Run() {
    if (!order_.globs.empty()) Walk();
    std::sort(matches_.begin(), matches_.end());
    for (const std::string& path : matches_) {
      if (set_.failure) break;
      Take(path, order_.limits.max_file_bytes);
    }
    if (order_.result) TakeResult();
    std::sort(set_.files.begin(), set_.files.end(),
              [](const ArtifactFile& a, const ArtifactFile& b) { return a.path < b.path; });
    std::stable_sort(
        set_.findings.begin(), set_.findings.end(),
        [](const ArtifactFinding& a, const ArtifactFinding& b) { return a.path < b.path; });
    return std::move(set_);
  }

 private:
  void Fail(std::string code, std::string message, std::string hint = "") {
    if (!set_.failure)
      set_.failure = RunFailure{protocol::FailureClass::kCaptureFailed, std::move(code),
                                std::move(message), std::move(hint)};
  }
  void Limit(const std::string& what, std::uint64_t most, const char* member) {
    Fail("artifacts.limit",
         "the declared output files go over a limit of this runner: " + what + " (" +
             std::to_string(most) + ")",
         std::string("narrow the globs, or raise artifacts.") + member);
  }
  void Find(std::string code, std::string message, const std::string& path) {
    if (set_.findings.size() < kMaxFindings) {
      set_.findings.push_back({std::move(code), std::move(message), path});
    } else if (!more_findings_) {
      more_findings_ = true;
      set_.findings.push_back({"artifact.more", "there are more findings of this kind", ""});
    }
  }
  bool Over() {
    if (order_.stop.stop_requested()) {
      Fail("artifacts.stopped", "collecting the declared output files was given up on request");
    } else if (deadline_.Passed()) {
      Fail("artifacts.time", "finding the declared output files took longer than " +
                                 std::to_string(kWalkLimit.count()) + " ms");
    }
    return set_.failure.has_value();
  }
  bool Matches(const std::string& path) const {
    return std::any_of(order_.globs.begin(), order_.globs.end(), [&](const std::string& glob) {
      return workspace::PathGlobMatches(glob, path);
    });
  }

  // Whether a glob could name something below `path`.
  bool OnTheWay(const std::string& path) const {
    return std::any_of(order_.globs.begin(), order_.globs.end(), [&](const std::string& glob) {
      if (glob.find('/') == std::string::npos) return true;  // matched against any last component
      for (std::size_t at = glob.find('/'); at != std::string::npos; at = glob.find('/', at + 1))
        if (workspace::GlobMatches(std::string_view(glob).substr(0, at), path)) return true;
      return false;
    });
  }
  static bool LeadsOutside(int link, const std::string& path) {
    std::string target(PATH_MAX, '\0');
    const ssize_t n = readlinkat(link, "", target.data(), target.size());
    return n > 0 && workspace::LinkLeadsOutside(
                        path, std::string_view(target).substr(0, static_cast<std::size_t>(n)));
  }
  // A link where a declared file could be, or on the way to one.
  void Link(const std::string& path) {
    const bool declared = Matches(path);
    if (!declared && !OnTheWay(path)) return;
    auto link = order_.tree.Open(path, O_PATH | O_NOFOLLOW);
    if (link && S_ISLNK(link->info.st_mode) && LeadsOutside(link->fd.get(), path))
      Find("artifact.link_outside",
           "a symbolic link, where the contract declares output files, leads out of the "
           "workspace: it is not followed",
           path);
    else if (declared)
      Special(S_IFLNK, path);
  }
  // The first link of `path`, which could not be opened without following one.
  void FindLinkOf(const std::string& path) {
    for (std::size_t at = path.find('/');; at = path.find('/', at + 1)) {
      const std::string part = path.substr(0, at);
      auto there = order_.tree.Open(part, O_PATH | O_NOFOLLOW);
      if (!there) return;
      if (S_ISLNK(there->info.st_mode)) {
        return LeadsOutside(there->fd.get(), part)
                   ? Find("artifact.link_outside",
                          "a symbolic link in the result's path leads out of the workspace: it is "
                          "not followed",
                          part)
                   : Special(there->info.st_mode, part);
      }
      if (at == std::string::npos) return;
    }
  }

  // Folder by folder; what a glob with a '/' cannot match below is not entered.
  bool LeadsInto(const std::string& folder) const {
    return std::any_of(order_.globs.begin(), order_.globs.end(), [&](const std::string& glob) {
      const std::size_t literal = glob.find_first_of("*?[\\");
      if (glob.find('/') == std::string::npos) return true;
      const std::string_view fixed = std::string_view(glob).substr(0, literal);
      const std::string inside = folder + "/";
      return fixed.starts_with(inside) || inside.starts_with(fixed);
    });
  }

  void Walk() {
    std::vector<std::string> folders = {""};
    std::uint64_t seen = 0;
    while (!folders.empty() && !set_.failure) {
      const std::string folder = std::move(folders.back());
      folders.pop_back();
      auto take = [&](const std::string& name, mode_t mode) {
        if (name == ".git") return true;
        if (++seen > order_.limits.max_entries) {
          Limit("the workspace has more entries", order_.limits.max_entries, "maxEntries");
          return false;
        }
        if (seen % 64 == 0 && Over()) return false;
        const std::string path = folder.empty() ? name : folder + "/" + name;
        if (path.size() > kMaxPathBytes) {
          Limit("bytes of a path", kMaxPathBytes, "maxEntries");
          return false;
        }
        if (S_ISDIR(mode)) {
          if (!LeadsInto(path)) return true;
          if (static_cast<std::size_t>(std::count(path.begin(), path.end(), '/')) >= kMaxDepth)
            Limit("folders in folders", kMaxDepth, "maxEntries");
          folders.push_back(path);
          return !set_.failure.has_value();
        }
        if (S_ISLNK(mode)) {
          Link(path);
          return true;
        }
        if (!Matches(path)) return true;
        if (!S_ISREG(mode)) {
          Special(mode, path);
          return true;
        }
        matches_.push_back(path);
        if (matches_.size() > order_.limits.max_files)
          Limit("more files", order_.limits.max_files, "maxFiles");
        return !set_.failure.has_value();
      };
      Status listed = order_.tree.ForEachIn(folder, take);
      if (!listed && listed.error().kind == ErrorKind::kIntegrity)
        return Fail(listed.error().code, listed.error().message, listed.error().hint);
      if (!listed) Find("artifact.unreadable", "a folder could not be read", folder);
    }
  }

  void Special(mode_t mode, const std::string& path) {
    Find("artifact.special",
         S_ISLNK(mode) ? "a declared output file is a symbolic link, which is not followed"
                       : "a declared output file is no regular file",
         path);
  }

  // Where it was taken: its index; else a finding or the failure says why not.
  std::optional<std::size_t> Take(const std::string& path, std::uint64_t most) {
    if (auto known = taken_.find(path); known != taken_.end()) return known->second;
    auto file = order_.tree.Open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    if (!file) {
      Find("artifact.unreadable", "a declared output file could not be opened", path);
      return std::nullopt;
    }
    const struct stat& info = file->info;
    if (!S_ISREG(info.st_mode)) {
      Special(info.st_mode, path);
      return std::nullopt;
    }
    if (order_.owner && info.st_uid != *order_.owner &&
        file->origin == workspace::MergedTree::Origin::kJob) {
      // A hard link to somebody else's file, say.
      Find("artifact.foreign", "a declared output file belongs to another user", path);
      return std::nullopt;
    }
    const auto size = static_cast<std::uint64_t>(info.st_size);
    if (size > most) {
      Limit("bytes of " + Shown(path), most, "maxFileBytes");
      return std::nullopt;
    }
    if (size > order_.limits.max_total_bytes - std::min(total_, order_.limits.max_total_bytes)) {
      Limit("bytes of all files", order_.limits.max_total_bytes, "maxTotalBytes");
      return std::nullopt;
    }
    return Copy(path, file->fd.get(), most);
  }

  std::optional<std::size_t> Copy(const std::string& path, int from, std::uint64_t most) {
    static constexpr const char* kUnfinished = "unfinished";
    Result<UniqueFd> copy = OpenBeneath(order_.out, kUnfinished, O_RDWR | O_CREAT | O_TRUNC, 0600);
    Status written = copy ? Status{} : Status(std::move(copy).error());
    protocol::Sha256Hasher hasher;
    SecretScan scan(*order_.redactor);
    bool secret = false;
    std::uint64_t bytes = 0;
    std::string piece(kPiece, '\0');
    while (written) {
      ssize_t n = read(from, piece.data(), piece.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) {
        Find("artifact.unreadable", "a declared output file could not be read", path);
        return std::nullopt;
      }
      if (n == 0) break;
      const std::string_view got(piece.data(), static_cast<std::size_t>(n));
      bytes += got.size();
      if (bytes > most) {  // a sparse giant, or one that still grows
        Limit("bytes of " + Shown(path), most, "maxFileBytes");
        return std::nullopt;
      }
      hasher.Update(got);
      if (!order_.redactor->empty()) secret = scan.Write(got).has_value();
      written = WriteAll(copy->get(), got);
      if (order_.stop.stop_requested() && Over()) return std::nullopt;
    }
    if (!written) {
      Fail("artifacts.store", "a declared output file could not be kept until it is uploaded",
           "see the free space of the work directory");
      return std::nullopt;
    }
    protocol::Digest digest = hasher.Finish();
    if (secret) {
      std::optional<std::string> redacted = Redacted(copy->get(), bytes);
      if (!redacted) {
        Find("artifact.secret",
             "a declared output file holds the value of a released secret: it is withheld", path);
        return std::nullopt;
      }
      Find("artifact.redacted",
           "a declared output file held the value of a released secret: it is redacted", path);
      digest = protocol::Sha256(*redacted);
      bytes = redacted->size();
      if (ftruncate(copy->get(), 0) != 0 || lseek(copy->get(), 0, SEEK_SET) != 0 ||
          !WriteAll(copy->get(), *redacted)) {
        Fail("artifacts.store", "a declared output file could not be kept until it is uploaded");
        return std::nullopt;
      }
    }
    if (renameat(order_.out, kUnfinished, order_.out, digest.ToHex().c_str()) != 0) {
      Fail("artifacts.store", "a declared output file could not be kept until it is uploaded");
      return std::nullopt;
    }
    total_ += bytes;
    set_.files.push_back({path, digest, bytes});
    taken_.emplace(path, set_.files.size() - 1);
    return set_.files.size() - 1;
  }

  // Only text, of a size that is worth it, and only where nothing of the secret is left.
  std::optional<std::string> Redacted(int file, std::uint64_t bytes) const {
    if (order_.secret_in_file != SecretInFile::kRedactText || bytes > kMaxRedactBytes)
      return std::nullopt;
    if (lseek(file, 0, SEEK_SET) != 0) return std::nullopt;
    Result<std::string> text = ReadAll(file, kMaxRedactBytes);
    if (!text || text->find('\0') != std::string::npos || !workspace::IsUtf8(*text))
      return std::nullopt;
    std::string out = order_.redactor->Redact(*text);
    if (order_.redactor->FindIn(out)) return std::nullopt;
    return out;
  }

  void TakeResult() {
    if (set_.failure) return;
    const std::string& path = *order_.result;
    auto wrong = [&](std::string code, const std::string& what) {
      if (!set_.failure)
        set_.failure = RunFailure{protocol::FailureClass::kSessionFailed, std::move(code),
                                  "the run's result " + Shown(path) + " " + what,
                                  "the contract's execution declares it as `result`"};
    };
    auto there = order_.tree.Open(path, O_PATH);
    if (!there) {
      FindLinkOf(path);
      return wrong("result.missing", "is not there");
    }
    const struct stat& info = there->info;
    if (!S_ISREG(info.st_mode)) {
      if (S_ISLNK(info.st_mode))
        FindLinkOf(path);
      else
        Special(info.st_mode, path);
      return wrong("result.missing", "is no regular file");
    }
    if (static_cast<std::uint64_t>(info.st_size) > order_.limits.max_result_bytes)
      return wrong("result.too_large",
                   "has more than " + std::to_string(order_.limits.max_result_bytes) + " bytes");
    const std::optional<std::size_t> index = Take(path, order_.limits.max_result_bytes);
    if (set_.failure) return;
    if (!index) return wrong("result.withheld", "was not taken: see the receipt's findings");
    Result<UniqueFd> copy = OpenBeneath(order_.out, set_.files[*index].digest.ToHex(), O_RDONLY);
    Result<std::string> text = copy ? ReadAll(copy->get(), order_.limits.max_result_bytes)
                                    : Result<std::string>(std::move(copy).error());
    if (!text) return wrong("result.missing", "could not be read again");
    json::ParseOptions options;
    options.max_bytes = order_.limits.max_result_bytes;
    if (!json::Parse(*text, options)) return wrong("result.not_json", "is not strict JSON");
  }

  std::string Shown(const std::string& path) const {
    return order_.redactor->Redact(workspace::PathForRecord(path));
  }

  const ArtifactOrder& order_;
  Deadline deadline_;
  ArtifactSet set_;
  std::vector<std::string> matches_;
  std::map<std::string, std::size_t> taken_;
  std::uint64_t total_ = 0;
  bool more_findings_ = false;
};

}  // namespace

ArtifactSet CollectArtifacts(const ArtifactOrder& order) {
  return Collector(order).Run();
}

}  // namespace writ::runner
