// Settings: the two configuration files, and how flags and the environment go above them.
//
//   flag > environment > file > default, member by member
//
// The members are those that the files' own parsers know (runner.json, config.json); each that is a
// number, a word, true or false, or a list of texts has a variable of its own: WRIT_RUNNER_ or
// WRIT_PLANE_ and the member's name in capitals ("limits.maxLogBytes":
// WRIT_RUNNER_LIMITS_MAX_LOG_BYTES; lists are separated by commas). What a parser refuses in a file
// it refuses from anywhere; a variable of these names that stands for nothing is refused too.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "writ/base/result.h"
#include "writ/plane/config.h"
#include "writ/plane/http_server.h"
#include "writ/protocol/json.h"

namespace writ::cli {

enum class SettingsFile { kRunner, kPlane };
std::optional<SettingsFile> ParseSettingsFile(std::string_view name);  // "runner", "plane"

struct SettingWords {
  std::string name;      // "limits.maxLogBytes"
  std::string variable;  // empty: a map or a list of objects, only from the file
  std::string fallback;  // its default as JSON; empty: none
};
// Every member, in the file's order.
std::vector<SettingWords> DescribeSettings(SettingsFile file);

enum class Origin { kDefault, kFile, kEnvironment, kFlag };
std::string_view OriginName(Origin origin);  // "default", "file", "environment", "flag"

struct Setting {
  std::string name;
  std::string variable;
  json::Value value;
  Origin origin = Origin::kDefault;
  std::string from;  // the file, the variable or the flag; empty for a default
};

struct FlagSetting {
  std::string name;  // of the member
  json::Value value;
  std::string flag;  // "--slots"
};

using Environment = std::vector<std::pair<std::string, std::string>>;
Environment CurrentEnvironment();  // the variables whose names begin with WRIT_

struct Sources {
  std::string file;  // its path; empty: there is none
  std::string text;  // its bytes
  Environment environment;
  std::vector<FlagSetting> flags;
};

// An error in what a file sets, with the way to mend it where it names none; wrong input (2).
Error ExplainSettingsError(Error error, const std::string& file);

// What was set, the highest layer on top, as a document that the file's parser reads.
struct Layered {
  json::Value document;
  std::vector<Setting> set;
};
// kInvalid "cli.variable_unknown", "cli.variable_value"; json.* for the file.
Result<Layered> LayerSettings(SettingsFile file, const Sources& sources);

// Every member of `complete` (the finished configuration as a document) with where it comes from.
std::vector<Setting> Effective(SettingsFile file, const Layered& layered,
                               const json::Value& complete);

// A value for people: on one line, cut where it is long, without the password of a URL.
std::string ShownValue(const json::Value& value);
json::Value WithoutPasswords(const json::Value& value);

// The plane's file: the "plane" member is the plane's own, "serve" is how `writ plane start`
// listens.
struct PlaneSettings {
  plane::Config config;
  plane::HttpServerOptions serve;
  std::vector<Setting> effective;
};
Result<PlaneSettings> ParsePlaneSettings(const Sources& sources);

}  // namespace writ::cli
