// SessionDirs: the folders of one session below <work_dir>/sessions, and their removal (L13).
//
//   NAME/        0711  entered by the job's uid, listed by nobody else
//     tree/      the workspace, given to the job's uid; of an overlay the upper layer
//     work/      of an overlay: what the kernel needs beside it
//     job/       the backend's session directory
//     private/   0700  what no job may reach: received blobs, trusted contents, the redacted output
//                      as it comes, and in out/ what was collected, each under its hash, until the
//                      plane has it
#pragma once

#include <string>
#include <string_view>

#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ::runner {

struct SessionDirs {
  static constexpr std::string_view kTree = "tree";
  // The redacted output as it comes, in private/.
  static constexpr std::string_view kSpool = "live.log", kStderrSpool = "live.stderr.log";

  std::string name;  // a single path component
  std::string tree_path;
  std::string job_path;
  UniqueFd tree;
  UniqueFd blobs;    // private/in
  UniqueFd trusted;  // private/trusted
  UniqueFd out;      // private/out

  // `sessions` is a handle of `sessions_path`. kConflict where the name is in use.
  static Result<SessionDirs> Make(int sessions, const std::string& sessions_path,
                                  const std::string& run_id);
  static std::string NameFor(
      const std::string& run_id);  // safe as one path component, unique per run id
};

}  // namespace writ::runner
