#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <map>

#include "checkout_content.h"
#include "folder_names.h"
#include "history.h"
#include "index_writer.h"
#include "tree_writer.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"
#include "writ/workspace/quoted_path.h"

namespace writ::workspace {
namespace {

// Files are this much older than the index, so that git trusts it; and older than whatever a run
// writes above them, so that git sees the difference.
constexpr std::time_t kSettled = 10;
constexpr std::uint64_t kBlock = 4096;

std::uint64_t InBlocks(std::uint64_t bytes) {
  return (bytes + kBlock - 1) / kBlock * kBlock;
}

Error Differs(const std::string& path, std::string_view how) {
  return Error{.kind = ErrorKind::kIntegrity,
               .code = "checkout.damaged",
               .message = "'" + QuotePath(path) + "' of a cached checkout " + std::string(how)};
}

void Stamp(InputFile& file, const struct stat& st) {
  file.stamp = FileStamp::Of(st);
  file.ctime_s = static_cast<std::uint64_t>(st.st_ctim.tv_sec);
  file.mtime_s = static_cast<std::uint64_t>(st.st_mtim.tv_sec);
}

// Adds every folder on the way to `path`.
void AddFolders(std::map<std::string, bool>& expected, const std::string& path) {
  for (std::size_t slash = path.rfind('/'); slash != std::string::npos && slash > 0;
       slash = path.rfind('/', slash - 1))
    if (!expected.try_emplace(path.substr(0, slash), true).second) return;
}

// A handle opened with O_PATH has no call of its own for this. What we made has no attributes of a
// user's; on a lower layer some would be the overlay's marks.
Status CheckAttributes(int handle, const std::string& path) {
  const std::string by_handle = "/proc/self/fd/" + std::to_string(handle);
  const ssize_t size = ::listxattr(by_handle.c_str(), nullptr, 0);
  if (size == 0 || (size < 0 && errno == EOPNOTSUPP)) return {};
  std::string names(size > 0 ? static_cast<std::size_t>(size) : 0, '\0');
  const ssize_t got = ::listxattr(by_handle.c_str(), names.data(), names.size());
  if (got < 0) return Differs(path, "has attributes that cannot be read");
  names.resize(static_cast<std::size_t>(got));
  for (std::size_t at = 0; at < names.size(); at = names.find('\0', at) + 1)
    if (names.compare(at, 5, "user.") == 0) return Differs(path, "has attributes of somebody's");
  return {};
}

// A folder, or what `.git` holds: of that kind, ours, with all that its owner needs of `mode`
// (which a umask may have narrowed for others) and no more than it.
Status CheckOwnPart(int handle, const std::string& path, mode_t mode) {
  struct stat st {};
  if (::fstat(handle, &st) != 0) return Differs(path, "is not there");
  if (st.st_uid != ::geteuid()) return Differs(path, "belongs to somebody else");
  const mode_t needed = mode & (S_IFMT | S_IRWXU);
  if ((st.st_mode & needed) != needed || (st.st_mode & ~mode) != 0)
    return Differs(path, "has another mode");
  return CheckAttributes(handle, path);
}

Status CheckText(int tree, const std::string& path, std::string_view expected) {
  auto fd = OpenBeneath(tree, path, O_RDONLY | O_NONBLOCK);
  if (!fd) return Differs(path, "is not there");
  WRIT_TRY(CheckOwnPart(fd->get(), path, S_IFREG | 0644));
  auto bytes = ReadAll(fd->get(), expected.size() + 1);
  if (!bytes || *bytes != expected) return Differs(path, "has another content");
  return {};
}

Status CheckFile(int tree, InputFile& file) {
  const TreeItem& item = file.item;
  struct stat st {};
  auto handle = OpenBeneath(tree, item.path, O_PATH);
  if (!handle || ::fstat(handle->get(), &st) != 0) return Differs(item.path, "is not there");
  if (st.st_uid != ::geteuid()) return Differs(item.path, "belongs to somebody else");
  Stamp(file, st);
  std::string content;
  if (item.mode == kModeSymlink) {
    if (!S_ISLNK(st.st_mode)) return Differs(item.path, "is no link");
    content.resize(4097);
    ssize_t n = ::readlinkat(handle->get(), "", content.data(), content.size());
    content.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  } else {
    mode_t mode = item.mode == kModeExecutable ? 0755 : 0644;
    if (!S_ISREG(st.st_mode) || (st.st_mode & 07777) != mode || st.st_nlink != 1)
      return Differs(item.path, "has another mode");
    WRIT_TRY(CheckAttributes(handle->get(), item.path));
    WRIT_ASSIGN(UniqueFd fd, OpenBeneath(tree, item.path, O_RDONLY));
    WRIT_ASSIGN(content, ReadAll(fd.get(), static_cast<std::uint64_t>(st.st_size)));
  }
  if (ObjectId::OfBlob(content) != item.id) return Differs(item.path, "has another content");
  return {};
}

// Nothing but what is expected: path -> whether it is a folder.
Status CheckNames(int tree, const std::map<std::string, bool>& expected) {
  std::size_t found = 0;
  std::vector<std::string> folders{""};
  while (!folders.empty()) {
    std::string folder = std::move(folders.back());
    folders.pop_back();
    UniqueFd handle(folder.empty() ? ::openat(tree, ".", O_PATH | O_DIRECTORY | O_CLOEXEC) : -1);
    if (!folder.empty()) {
      WRIT_ASSIGN(handle, OpenBeneath(tree, folder, O_PATH | O_DIRECTORY));
    }
    WRIT_TRY(CheckOwnPart(handle.get(), folder, S_IFDIR | 0755));
    WRIT_ASSIGN(std::vector<FolderName> names, NamesInFolder(tree, folder));
    for (const FolderName& name : names) {
      std::string path = folder.empty() ? name.text : folder + "/" + name.text;
      auto known = expected.find(path);
      if (known == expected.end()) return Differs(path, "is not of its tree");
      if (known->second != name.is_folder) return Differs(path, "is of another kind");
      ++found;
      if (name.is_folder) folders.push_back(std::move(path));
    }
  }
  if (found != expected.size()) return Differs("", "lacks files or folders");
  return {};
}

}  // namespace

Result<TreeListing> BaseCheckout::List() const {
  if (!options_.history.IsZero()) WRIT_TRY(CheckHistory(*options_.objects, options_.history));
  WRIT_ASSIGN(TreeListing listing,
              ListTree(*options_.objects, options_.tree, {.max_files = options_.max_files}));
  for (const TreeItem& item : listing)
    if (item.mode != kModeGitlink && !options_.objects->Has(item.id))
      return Error{.kind = ErrorKind::kInvalid,
                   .code = "workspace.bundle_incomplete",
                   .message = "the bundle lacks the content of '" + QuotePath(item.path) + "'"};
  return listing;
}

std::string BaseCheckout::Index(const TreeListing& listing,
                                const std::vector<InputFile>& files) const {
  std::vector<IndexEntry> entries;
  entries.reserve(listing.size());
  for (std::size_t i = 0; i < listing.size(); ++i)
    entries.push_back({&listing[i], listing[i].mode == kModeGitlink ? nullptr : &files[i]});
  return FormatIndex(entries, ::geteuid(), ::getegid());
}

Result<CheckoutFacts> BaseCheckout::Fill(int tree) {
  WRIT_ASSIGN(TreeListing listing, List());
  std::vector<InputFile> files;
  files.reserve(listing.size());
  for (const TreeItem& item : listing) files.push_back({.item = item, .stamp = {}});
  TreeWriteOptions write{.target = tree,
                         .owner = std::nullopt,
                         .threads = options_.threads,
                         .max_tree_bytes = options_.max_tree_bytes,
                         .max_file_bytes = options_.max_file_bytes,
                         .mtime = ::time(nullptr) - kSettled,
                         .content =
                             [&](const InputFile& file) {
                               return ReadTyped(*options_.objects, file.item.id, ObjectType::kBlob);
                             },
                         .wrote = options_.wrote};
  CheckoutFacts facts;
  WRIT_ASSIGN(facts.bytes, WriteTree(write, files));
  // Of another device on every boot: git does not compare it, and the verification need not either.
  for (InputFile& file : files) file.device = 0;
  std::string index = Index(listing, files);
  WRIT_TRY(WriteRepository(tree, options_.text, index));
  facts.files = listing.size();
  facts.disk_bytes = InBlocks(index.size());
  std::map<std::string, bool> folders;
  for (const InputFile& file : files) {
    facts.disk_bytes += InBlocks(file.stamp.size);
    AddFolders(folders, file.item.path);
    if (file.item.mode == kModeGitlink) facts.submodules.push_back(file.item.path);
  }
  facts.disk_bytes += (folders.size() + PartsOfRepository(options_.text).size()) * kBlock;
  return facts;
}

Result<CheckoutFacts> BaseCheckout::Verify(int tree) {
  WRIT_ASSIGN(TreeListing listing, List());
  std::map<std::string, bool> expected{{".git", true}, {".git/index", false}};
  for (const RepositoryPart& part : PartsOfRepository(options_.text)) {
    expected[".git/" + part.path] = !part.text;
    if (part.text) WRIT_TRY(CheckText(tree, ".git/" + part.path, *part.text));
  }
  std::vector<InputFile> files;
  CheckoutFacts facts{.files = listing.size()};
  for (const TreeItem& item : listing) {
    files.push_back({.item = item, .stamp = {}});
    AddFolders(expected, item.path);
    expected[item.path] = item.mode == kModeGitlink;
    if (item.mode == kModeGitlink) {
      facts.submodules.push_back(item.path);
      continue;
    }
    WRIT_TRY(CheckFile(tree, files.back()));
    facts.bytes += files.back().stamp.size;
    facts.disk_bytes += InBlocks(files.back().stamp.size);
  }
  WRIT_TRY(CheckNames(tree, expected));
  std::string index = Index(listing, files);
  WRIT_TRY(CheckText(tree, ".git/index", index));
  facts.disk_bytes += InBlocks(index.size()) + expected.size() * kBlock;
  return facts;
}

}  // namespace writ::workspace
