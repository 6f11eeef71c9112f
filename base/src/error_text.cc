#include "writ/base/error_text.h"

#include <cerrno>

namespace writ {

std::string ErrorText(const Error& error) {
  Error plain = error;
  plain.hint.clear();
  std::string out = plain.ToString();
  if (!error.code.empty()) out += " [" + error.code + "]";
  out += '\n';
  if (!error.hint.empty()) out += "hint: " + error.hint + "\n";
  return out;
}

std::string HintForFile(const Error& error) {
  const bool reads = error.code == "file.open_failed" || error.code == "file.read_failed";
  switch (error.sys_errno) {
    case ENOSPC:
    case EDQUOT:
      return "make room on its disk: it is full, or the quota is used up";
    case ENOENT:
      return reads
                 ? "look whether the path is right; one without a slash in front begins where you "
                   "are"
                 : "look whether its folder is there, and make it first";
    case ENOTDIR:
      return "a part of the path is a file and no folder: correct the path";
    case EISDIR:
      return "name a file: that is a folder";
    case EACCES:
    case EPERM:
      return reads ? "use an account that may read it, or change its mode"
                   : "name a place that you may write to";
    case EROFS:
      return "name a place that can be written: that file system is read-only";
    case EEXIST:
      return "name a file that is not there yet: nothing is replaced";
    case ELOOP:
      return "name the file itself: symbolic links are not followed here";
    default:
      return reads ? "look whether it is a file that can be read"
                   : "look at the place that it was to be written to";
  }
}

std::string HintForJson(const Error& error) {
  if (error.code.starts_with("json."))
    return "it must be strict JSON in UTF-8: no comments, no name twice in one object, nothing "
           "behind the value";
  if (error.code.starts_with("object."))
    return "correct the member at that place; writ.json(5) and docs/protocol.md name those that "
           "there are";
  return "";
}

}  // namespace writ
