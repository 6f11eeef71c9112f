// How errors are told: a sentence, a code, and what to do about it.
#include "hints.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "context.h"
#include "writ/base/error_text.h"

namespace writ::cli {
namespace {

TEST(ErrorText, IsASentenceWithItsCodeAndTheHintOnALineOfItsOwn) {
  Error error{ErrorKind::kInvalid, "a.code", "it is wrong", "mend it"};
  EXPECT_EQ(ErrorText(error), "it is wrong [a.code]\nhint: mend it\n");
  EXPECT_EQ(ErrorText(std::move(error).With("reading F")),
            "reading F: it is wrong [a.code]\nhint: mend it\n");
  EXPECT_EQ(ErrorText({.message = "it is wrong"}), "it is wrong\n");
}

TEST(Hints, AreThereForEveryErrorWhoseMakerKnewNone) {
  const Context context;
  for (const char* code :
       {"workspace.unreadable", "file.open_failed", "file.read_failed", "file.rename_failed",
        "file.create_failed", "file.too_large", "path.mkdir_failed", "json.syntax",
        "json.duplicate_name", "object.unknown", "object.type", "run.not_found", "runner.not_found",
        "principal.not_found", "forbidden"}) {
    EXPECT_NE(HintFor({ErrorKind::kInvalid, code, "it is wrong"}, context), "") << code;
    EXPECT_EQ(HintFor({ErrorKind::kInvalid, code, "it is wrong", "its own"}, context), "its own");
  }
  EXPECT_EQ(HintFor({ErrorKind::kInternal, "a.bug", "it is wrong"}, context), "");
}

TEST(Hints, SayWhatTheErrnoMeansForAFile) {
  const Context context;
  const auto hint = [&](int err, const char* code) {
    return HintFor(SysError(err, code, "cannot do it"), context);
  };
  EXPECT_NE(hint(ENOENT, "file.open_failed").find("path is right"), std::string::npos);
  EXPECT_NE(hint(ENOENT, "file.create_failed").find("its folder is there"), std::string::npos);
  EXPECT_NE(hint(EEXIST, "file.create_failed").find("nothing is replaced"), std::string::npos);
  EXPECT_NE(hint(EACCES, "file.open_failed").find("may read it"), std::string::npos);
  for (const int full : {ENOSPC, EDQUOT})
    for (const char* code : {"file.write_failed", "blob.write", "runner.anything"})
      EXPECT_NE(hint(full, code).find("make room"), std::string::npos) << code;
}

TEST(ExitCodes, ATokenOrRoleThatThePlaneDoesNotTakeIsDenied) {
  for (const char* code : {"unauthorized", "forbidden", "policy_denied"})
    EXPECT_EQ(ExitCodeFor({ErrorKind::kDenied, code, "no"}), kPolicyDenied) << code;
}

TEST(ExitCodes, WhatIsNamedAndIsThereAlreadyOrClosedIsUsageAndAFullDiskIsNot) {
  for (const char* code :
       {"principal.exists", "artifacts.exists", "backup.exists", "restore.not_empty"})
    EXPECT_EQ(ExitCodeFor({ErrorKind::kConflict, code, "no"}), kUsage) << code;
  for (const int err : {EEXIST, EACCES, EROFS, EISDIR, ENOTDIR})
    for (const char* code : {"file.create_failed", "path.mkdir_failed", "workspace.unreadable"})
      EXPECT_EQ(ExitCodeFor(SysError(err, code, "no")), kUsage) << code << " " << err;
  for (const int full : {ENOSPC, EDQUOT})
    for (const char* code : {"file.create_failed", "cli.dir_full"})
      EXPECT_EQ(ExitCodeFor(SysError(full, code, "no")), kFailed) << code;
  EXPECT_EQ(ExitCodeFor(SysError(EIO, "file.write_failed", "no")), kFailed);
}

}  // namespace
}  // namespace writ::cli
