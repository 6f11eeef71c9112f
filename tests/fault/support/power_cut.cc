#include "fault/support/power_cut.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <cstdarg>
#include <cstdint>
#include <cstdlib>
#include <list>
#include <map>
#include <mutex>
#include <string>

namespace {

template <typename Function>
Function* Real(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}
#define WRIT_REAL(name) static auto* const real = Real<decltype(::name)>(#name)

struct Place {  // of a file or a folder
  dev_t device;
  ino_t inode;
  auto operator<=>(const Place&) const = default;
};

// One thing to take back; gone from the list once it is flushed.
struct Undo {
  enum class What { kBytes, kMadeName, kMovedName } what = What::kBytes;
  Place flushed_by{};                          // the file (kBytes), or the folder with the new name
  off_t offset = 0, size = 0;                  // kBytes: where, and the file's size before
  std::string bytes = {};                      // kBytes: what stood there
  std::string folder = {}, name = {};          // the new name
  std::string old_folder = {}, old_name = {};  // kMovedName
  std::string saved = {};  // kMovedName: another name of the file that it replaced, or empty
  std::uint64_t order = 0;
};

struct State {
  std::mutex mutex;  // held during each write, so that the list has the order of the disk
  std::string root;
  std::list<Undo> undo;
  std::map<Place, int> kept;  // never closed: that would drop the process's record locks
  int saves = 0;
  std::uint64_t order = 0;

  void Note(Undo one) {
    one.order = ++order;
    undo.push_back(std::move(one));
  }
};

// Never destroyed: threads write until the very end.
State& TheState() {
  static State* const state = new State;
  return *state;
}
std::atomic<bool> armed{false};

std::string PathOf(int fd) {
  char path[PATH_MAX];
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  const ssize_t n = ::readlink(link.c_str(), path, sizeof path);
  return n > 0 ? std::string(path, static_cast<std::size_t>(n)) : std::string();
}

bool Below(const std::string& path) {
  const std::string& root = TheState().root;
  return path.size() > root.size() && path.starts_with(root) && path[root.size()] == '/';
}

// The file's descriptor for taking back, or -1 where it is none of ours.
int Keep(int fd, Place& place, struct stat& st) {
  if (::fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) return -1;
  place = {st.st_dev, st.st_ino};
  State& state = TheState();
  if (auto it = state.kept.find(place); it != state.kept.end()) return it->second;
  if (!Below(PathOf(fd))) return -1;
  WRIT_REAL(open);
  const int kept = real(("/proc/self/fd/" + std::to_string(fd)).c_str(), O_RDWR | O_CLOEXEC);
  if (kept < 0) ::abort();
  return state.kept[place] = kept;
}

// Notes what stands in [offset, offset + count), which is about to be written over.
void NoteBytes(int fd, off_t offset, std::size_t count) {
  Place place;
  struct stat st;
  const int kept = Keep(fd, place, st);
  if (kept < 0) return;
  Undo undo{.what = Undo::What::kBytes, .flushed_by = place, .offset = offset, .size = st.st_size};
  if (offset < st.st_size) {
    undo.bytes.resize(std::min<std::size_t>(count, static_cast<std::size_t>(st.st_size - offset)));
    const ssize_t n = ::pread(kept, undo.bytes.data(), undo.bytes.size(), offset);
    if (n != static_cast<ssize_t>(undo.bytes.size())) ::abort();
  }
  TheState().Note(std::move(undo));
}

void NoteNextBytes(int fd, std::size_t count) {
  struct stat st;
  if (::fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) return;
  const int flags = ::fcntl(fd, F_GETFL);
  NoteBytes(fd, (flags & O_APPEND) != 0 ? st.st_size : ::lseek(fd, 0, SEEK_CUR), count);
}

std::size_t SizeOf(const iovec* parts, int count) {
  std::size_t size = 0;
  for (int i = 0; i < count; ++i) size += parts[i].iov_len;
  return size;
}

struct Name {
  std::string folder, name;  // folder: absolute, empty: none of ours
  Place place{};
};

Name Resolve(int dir, const char* path) {
  const std::string text(path);
  const std::size_t slash = text.rfind('/');
  const std::string parent = slash == std::string::npos ? "."
                             : slash == 0               ? "/"
                                                        : text.substr(0, slash);
  WRIT_REAL(openat);
  const int fd = real(dir, parent.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  Name out;
  struct stat st;
  if (fd >= 0 && ::fstat(fd, &st) == 0) {
    out.folder = PathOf(fd);
    out.name = slash == std::string::npos ? text : text.substr(slash + 1);
    out.place = {st.st_dev, st.st_ino};
    if (!Below(out.folder + "/" + out.name)) out.folder.clear();
  }
  if (fd >= 0) ::close(fd);
  return out;
}

bool There(const Name& name) {
  return ::faccessat(AT_FDCWD, (name.folder + "/" + name.name).c_str(), F_OK,
                     AT_SYMLINK_NOFOLLOW) == 0;
}

template <typename Open>
int OpenNoting(int dir, const char* path, int flags, Open open) {
  if (!armed || (flags & O_CREAT) == 0 || (flags & O_TMPFILE) == O_TMPFILE) return open();
  std::lock_guard lock(TheState().mutex);
  const Name name = Resolve(dir, path);
  const bool made = !name.folder.empty() && !There(name);
  const int fd = open();
  if (fd >= 0 && made)
    TheState().Note({.what = Undo::What::kMadeName,
                     .flushed_by = name.place,
                     .folder = name.folder,
                     .name = name.name});
  return fd;
}

template <typename Move>
int MoveNoting(int from_dir, const char* from, int to_dir, const char* to, Move move) {
  if (!armed) return move();
  std::lock_guard lock(TheState().mutex);
  State& state = TheState();
  const Name old_name = Resolve(from_dir, from), new_name = Resolve(to_dir, to);
  std::string saved;
  if (!new_name.folder.empty() && There(new_name)) {
    saved = state.root + "/power-cut-" + std::to_string(++state.saves);
    WRIT_REAL(linkat);
    // A folder cannot be replaced by what is done here.
    if (real(AT_FDCWD, (new_name.folder + "/" + new_name.name).c_str(), AT_FDCWD, saved.c_str(),
             0) != 0)
      saved.clear();
  }
  const int rc = move();
  if (rc == 0 && !new_name.folder.empty() && !old_name.folder.empty()) {
    state.Note({.what = Undo::What::kMovedName,
                .flushed_by = new_name.place,
                .folder = new_name.folder,
                .name = new_name.name,
                .old_folder = old_name.folder,
                .old_name = old_name.name,
                .saved = saved});
  } else if (!saved.empty()) {
    ::unlink(saved.c_str());
  }
  return rc;
}

template <typename Flush>
int FlushNoting(int fd, Flush flush) {
  if (!armed) return flush();
  State& state = TheState();
  struct stat st;
  if (::fstat(fd, &st) != 0) return flush();
  const Place place{st.st_dev, st.st_ino};
  std::uint64_t before = 0;  // what is written meanwhile is not flushed
  {
    std::lock_guard lock(state.mutex);
    before = state.order;
  }
  const int rc = flush();
  if (rc != 0) return rc;
  std::lock_guard lock(state.mutex);
  for (auto it = state.undo.begin(); it != state.undo.end() && it->order <= before;) {
    if (it->flushed_by == place) {
      if (!it->saved.empty()) ::unlink(it->saved.c_str());
      it = state.undo.erase(it);
    } else {
      ++it;
    }
  }
  return rc;
}

void TakeBack() {
  State& state = TheState();
  state.mutex.lock();  // for ever: nothing is written any more
  for (auto it = state.undo.rbegin(); it != state.undo.rend(); ++it) {
    const std::string path = it->folder + "/" + it->name;
    switch (it->what) {
      case Undo::What::kBytes: {
        const int fd = state.kept[it->flushed_by];
        static auto* const cut = Real<decltype(::ftruncate)>("ftruncate");
        static auto* const put = Real<decltype(::pwrite)>("pwrite");
        if (!it->bytes.empty() && put(fd, it->bytes.data(), it->bytes.size(), it->offset) !=
                                      static_cast<ssize_t>(it->bytes.size()))
          ::abort();
        if (cut(fd, it->size) != 0) ::abort();
        break;
      }
      case Undo::What::kMadeName:
        ::unlink(path.c_str());
        break;
      case Undo::What::kMovedName: {
        static auto* const move = Real<decltype(::rename)>("rename");
        // Gone meanwhile (removed, or moved on and flushed there): then nothing is to be moved
        // back.
        (void)move(path.c_str(), (it->old_folder + "/" + it->old_name).c_str());
        if (!it->saved.empty()) (void)move(it->saved.c_str(), path.c_str());
        break;
      }
    }
  }
}

[[gnu::constructor]] void ArmFromEnvironment() {
  if (const char* root = std::getenv("WRIT_POWER_ROOT")) WritPowerCutBelow(root);
}

}  // namespace

extern "C" {

void WritPowerCutBelow(const char* folder) {
  TheState().root = folder;
  armed = true;
}

ssize_t write(int fd, const void* bytes, size_t count) {
  WRIT_REAL(write);
  if (!armed) return real(fd, bytes, count);
  std::unique_lock lock(TheState().mutex, std::defer_lock);
  struct stat st;
  if (::fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {  // a pipe may block
    lock.lock();
    NoteNextBytes(fd, count);
  }
  return real(fd, bytes, count);
}
ssize_t writev(int fd, const iovec* parts, int count) {
  WRIT_REAL(writev);
  if (!armed) return real(fd, parts, count);
  std::unique_lock lock(TheState().mutex, std::defer_lock);
  struct stat st;
  if (::fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
    lock.lock();
    NoteNextBytes(fd, SizeOf(parts, count));
  }
  return real(fd, parts, count);
}
ssize_t pwrite(int fd, const void* bytes, size_t count, off_t offset) {
  WRIT_REAL(pwrite);
  if (!armed) return real(fd, bytes, count, offset);
  std::lock_guard lock(TheState().mutex);
  NoteBytes(fd, offset, count);
  return real(fd, bytes, count, offset);
}
ssize_t pwrite64(int fd, const void* bytes, size_t count, off64_t offset) {
  return pwrite(fd, bytes, count, offset);
}
ssize_t pwritev(int fd, const iovec* parts, int count, off_t offset) {
  WRIT_REAL(pwritev);
  if (!armed) return real(fd, parts, count, offset);
  std::lock_guard lock(TheState().mutex);
  NoteBytes(fd, offset, SizeOf(parts, count));
  return real(fd, parts, count, offset);
}
int ftruncate(int fd, off_t size) noexcept {
  WRIT_REAL(ftruncate);
  if (!armed) return real(fd, size);
  std::lock_guard lock(TheState().mutex);
  NoteBytes(fd, size, SIZE_MAX);
  return real(fd, size);
}
int ftruncate64(int fd, off64_t size) noexcept {
  return ftruncate(fd, size);
}
int posix_fallocate(int fd, off_t offset, off_t size) {
  WRIT_REAL(posix_fallocate);
  if (!armed) return real(fd, offset, size);
  std::lock_guard lock(TheState().mutex);
  NoteBytes(fd, offset, 0);
  return real(fd, offset, size);
}

int fsync(int fd) {
  WRIT_REAL(fsync);
  return FlushNoting(fd, [&] { return real(fd); });
}
int fdatasync(int fd) {
  WRIT_REAL(fdatasync);
  return FlushNoting(fd, [&] { return real(fd); });
}

// The mode is an argument only where a file may be made.
#define WRIT_MODE(flags)                        \
  mode_t mode = 0;                              \
  if (((flags) & (O_CREAT | O_TMPFILE)) != 0) { \
    va_list rest;                               \
    va_start(rest, flags);                      \
    mode = va_arg(rest, mode_t);                \
    va_end(rest);                               \
  }
int open(const char* path, int flags, ...) {
  WRIT_REAL(open);
  WRIT_MODE(flags)
  return OpenNoting(AT_FDCWD, path, flags, [&] { return real(path, flags, mode); });
}
int open64(const char* path, int flags, ...) {
  WRIT_MODE(flags)
  return open(path, flags, mode);
}
int openat(int dir, const char* path, int flags, ...) {
  WRIT_REAL(openat);
  WRIT_MODE(flags)
  return OpenNoting(dir, path, flags, [&] { return real(dir, path, flags, mode); });
}
int openat64(int dir, const char* path, int flags, ...) {
  WRIT_MODE(flags)
  return openat(dir, path, flags, mode);
}
long syscall(long number, ...) noexcept {
  WRIT_REAL(syscall);
  va_list rest;
  va_start(rest, number);
  long arg[6];
  for (long& a : arg) a = va_arg(rest, long);
  va_end(rest);
  auto call = [&] { return real(number, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]); };
  if (number != SYS_openat2) return call();
  const auto* how = reinterpret_cast<const open_how*>(arg[2]);
  return OpenNoting(static_cast<int>(arg[0]), reinterpret_cast<const char*>(arg[1]),
                    static_cast<int>(how->flags), [&] { return static_cast<int>(call()); });
}

int rename(const char* from, const char* to) noexcept {
  WRIT_REAL(rename);
  return MoveNoting(AT_FDCWD, from, AT_FDCWD, to, [&] { return real(from, to); });
}
int renameat(int from_dir, const char* from, int to_dir, const char* to) noexcept {
  WRIT_REAL(renameat);
  return MoveNoting(from_dir, from, to_dir, to, [&] { return real(from_dir, from, to_dir, to); });
}
int linkat(int from_dir, const char* from, int to_dir, const char* to, int flags) noexcept {
  WRIT_REAL(linkat);
  if (!armed) return real(from_dir, from, to_dir, to, flags);
  std::lock_guard lock(TheState().mutex);
  const Name name = Resolve(to_dir, to);
  const int rc = real(from_dir, from, to_dir, to, flags);
  if (rc == 0 && !name.folder.empty())
    TheState().Note({.what = Undo::What::kMadeName,
                     .flushed_by = name.place,
                     .folder = name.folder,
                     .name = name.name});
  return rc;
}

int kill(pid_t pid, int number) noexcept {
  WRIT_REAL(kill);
  if (armed && pid == ::getpid() && number == SIGKILL) TakeBack();
  return real(pid, number);
}

}  // extern "C"
