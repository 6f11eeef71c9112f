// Backup and restore of a plane's directory: one file with everything that a plane is.
//
// The file is a tar archive (tar -t lists it), 0600, made beside a plane that works: the database
// as of one instant (a snapshot of SQLite's own), every blob that it refers to at that instant, the
// configuration, the policy, and the keys. THE KEYS ARE IN IT AS THEY ARE: whoever can read the
// file can sign as this plane and open its secrets store. It ends with a manifest that names each
// file with its SHA-256. Not in it: live output of runs that are at work, and runners' own folders
// (two runners with one identity would break each other's chains).
//
// Restore makes a directory anew, or not at all: everything is checked before the directory gets
// its name. A plane that is restored knows nothing of what came after the backup: a run that was
// queued then is queued again, a runner that enrolled later has to enrol again.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "writ/base/clock.h"
#include "writ/base/result.h"

namespace writ::plane {

inline constexpr const char* kBackupVersion = "writ.backup.v1";

struct BackupReport {
  std::string file;  // that was written
  std::uint64_t bytes = 0;
  std::uint64_t runs = 0;
  std::uint64_t blobs = 0;
  int schema = 0;
  // Blobs that the database names and the plane does not have: they were lost before.
  std::vector<std::string> missing_blobs;
};
// `out` is the file to make, or a folder for one named by the time. Never replaces: kConflict
// "backup.exists"; kConflict "backup.under_way" where another one is being made.
Result<BackupReport> Backup(const std::string& dir, const std::string& out, const Clock& clock);

struct RestoreReport {
  std::string made_at;  // RFC 3339
  std::string plane_key_id;
  std::uint64_t runs = 0;
  std::uint64_t blobs = 0;
  int schema = 0;  // of the backup; the plane migrates it when it is opened
  std::vector<std::string> missing_blobs;
};
// `dir` is absent or empty: kConflict "restore.not_empty". kUnsupported "store.newer" for a schema
// that this build does not know, kIntegrity "backup.damaged" for a file that is not whole, kInvalid
// "backup.format" for one that is no backup.
Result<RestoreReport> Restore(const std::string& file, const std::string& dir);

}  // namespace writ::plane
