#include "settings.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <functional>

#include "writ/runner/config.h"

namespace writ::cli {
namespace {

std::string_view Prefix(SettingsFile file) {
  return file == SettingsFile::kRunner ? "WRIT_RUNNER_" : "WRIT_PLANE_";
}

// "limits.maxLogBytes" -> "LIMITS_MAX_LOG_BYTES"; the plane's own members stand without "plane.".
std::string VariableOf(SettingsFile file, std::string_view name) {
  if (file == SettingsFile::kPlane && name.starts_with("plane.")) name.remove_prefix(6);
  std::string out(Prefix(file));
  for (char c : name) {
    const bool upper = c >= 'A' && c <= 'Z';
    if (upper || c == '.') out += '_';
    if (c != '.') out += static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
  }
  return out;
}

bool HasVariable(const json::Value& sample) {
  if (sample.is_object()) return false;
  const json::Array* items = sample.if_array();
  return items == nullptr || items->empty() || items->front().is_string();
}

// Members that are no objects with fixed members of their own, by their dotted names.
void ForEachLeaf(const json::Value& value, const std::string& name,
                 const std::function<void(const std::string&, const json::Value&)>& visit) {
  const json::Object* object = value.if_object();
  // Maps whose names people choose are one setting.
  static constexpr std::string_view kMaps[] = {"isolationWords", "agentPaths", "agentVars",
                                               "hooks"};
  if (object == nullptr || std::find(std::begin(kMaps), std::end(kMaps), name) != std::end(kMaps))
    return visit(name, value);
  for (const json::Member& member : *object)
    ForEachLeaf(member.value, name.empty() ? member.name : name + "." + member.name, visit);
}

json::Value Parsed(const std::string& text) {
  auto value = json::Parse(text);
  return value ? std::move(*value) : json::Value();  // a writer of ours made it
}

json::Value ServeDocument(const plane::HttpServerOptions& serve) {
  json::Object out{{"host", serve.host}, {"port", serve.port}};
  if (!serve.metrics.empty()) out.Set("metrics", serve.metrics);
  if (serve.tls) {
    out.Set("tlsCert", serve.tls->certificate);
    out.Set("tlsKey", serve.tls->key);
    out.Set("clientCa", serve.tls->client_ca);
  }
  return out;
}

json::Value PlaneDocument(const plane::Config& config, const plane::HttpServerOptions& serve) {
  json::Value out = Parsed(plane::ConfigJson(config));
  out.object().Erase("version");
  out.object().Set("serve", ServeDocument(serve));
  return out;
}

// With everything in it that may be absent.
json::Value Sample(SettingsFile file) {
  if (file == SettingsFile::kPlane)
    return PlaneDocument({},
                         {.tls = plane::TlsFiles{"FILE", "FILE", "FILE"}, .metrics = "ADDRESS"});
  runner::RunnerConfig config;
  config.plane = {.url = "URL",
                  .ca_file = "FILE",
                  .pinned_key = "KEY",
                  .proxy = "URL",
                  .client_cert_file = "FILE",
                  .client_key_file = "FILE"};
  config.plane_key_pem = "PEM";
  config.uid_range = runner::UidRange{1, 1};
  config.mock_agent = "FILE";
  config.metrics_listen = "ADDRESS";
  config.hooks[runner::HookKind::kBeforeRun];
  config.host_overrides.push_back({});
  config.allow_hosts.emplace();
  return Parsed(runner::RunnerConfigJson(config));
}

json::Value Defaults(SettingsFile file) {
  return file == SettingsFile::kPlane ? PlaneDocument({}, {})
                                      : Parsed(runner::RunnerConfigJson({}));
}

const json::Value* FindLeaf(const json::Value& value, std::string_view name) {
  const std::size_t dot = name.find('.');
  const json::Value* member = value.Find(name.substr(0, dot));
  if (member == nullptr || dot == std::string_view::npos) return member;
  return FindLeaf(*member, name.substr(dot + 1));
}

void SetLeaf(json::Value& value, std::string_view name, json::Value leaf) {
  if (!value.is_object()) value = json::Object();
  const std::size_t dot = name.find('.');
  const std::string_view head = name.substr(0, dot);
  if (dot == std::string_view::npos) {
    value.object().Set(head, std::move(leaf));
    return;
  }
  if (value.object().Find(head) == nullptr) value.object().Set(head, json::Object());
  SetLeaf(*value.object().Find(head), name.substr(dot + 1), std::move(leaf));
}

Result<json::Value> FromVariable(const std::string& variable, const std::string& text,
                                 const json::Value& sample) {
  auto wrong = [&](const char* what) {
    return Error{ErrorKind::kInvalid, "cli.variable_value",
                 "the environment variable " + variable + " must be " + what,
                 "correct it or unset it"};
  };
  if (sample.is_number()) {
    std::int64_t number = 0;
    auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (status != std::errc() || end != text.data() + text.size() ||
        std::abs(number) > json::kMaxSafeInteger)
      return wrong("a whole number");
    return json::Value(number);
  }
  if (sample.is_bool()) {
    if (text != "true" && text != "false") return wrong("true or false");
    return json::Value(text == "true");
  }
  if (!json::IsWellFormedUtf8(text)) return wrong("UTF-8");
  if (sample.is_string()) return json::Value(text);
  std::vector<std::string> items;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t comma = std::min(text.find(',', at), text.size());
    items.push_back(text.substr(at, comma - at));
    at = comma + 1;
  }
  return json::Value::Texts(items);
}

}  // namespace

std::optional<SettingsFile> ParseSettingsFile(std::string_view name) {
  if (name == "runner") return SettingsFile::kRunner;
  if (name == "plane") return SettingsFile::kPlane;
  return std::nullopt;
}

std::string_view OriginName(Origin origin) {
  switch (origin) {
    case Origin::kDefault:
      return "default";
    case Origin::kFile:
      return "file";
    case Origin::kEnvironment:
      return "environment";
    case Origin::kFlag:
      return "flag";
  }
  return "";
}

std::vector<SettingWords> DescribeSettings(SettingsFile file) {
  const json::Value defaults = Defaults(file);
  std::vector<SettingWords> out;
  ForEachLeaf(Sample(file), "", [&](const std::string& name, const json::Value& sample) {
    const json::Value* fallback = FindLeaf(defaults, name);
    std::string shown = fallback != nullptr ? json::Write(*fallback) : "";
    if (shown == "\"\"") shown.clear();
    out.push_back({name, HasVariable(sample) ? VariableOf(file, name) : "", std::move(shown)});
  });
  return out;
}

Environment CurrentEnvironment() {
  Environment out;
  for (char** at = ::environ; at != nullptr && *at != nullptr; ++at) {
    const std::string_view entry(*at);
    const std::size_t equals = entry.find('=');
    if (entry.starts_with("WRIT_") && equals != std::string_view::npos)
      out.emplace_back(entry.substr(0, equals), entry.substr(equals + 1));
  }
  return out;
}

Error ExplainSettingsError(Error error, const std::string& file) {
  error.kind = ErrorKind::kInvalid;
  if (error.hint.empty())
    error.hint = "correct " + file +
                 "; `writ config show --effective` lists what can be set, `writ config check FILE` "
                 "tells whether a file can be taken";
  return error;
}

Result<Layered> LayerSettings(SettingsFile file, const Sources& sources) {
  Layered out;
  out.document = json::Object();
  const json::Value sample = Sample(file);
  auto put = [&](Setting setting) {
    SetLeaf(out.document, setting.name, setting.value);
    std::erase_if(out.set, [&](const Setting& below) { return below.name == setting.name; });
    out.set.push_back(std::move(setting));
  };
  if (!sources.file.empty()) {
    auto parsed = json::Parse(sources.text, {.max_depth = 16, .max_bytes = 1 << 20});
    if (!parsed)
      return ExplainSettingsError(std::move(parsed).error().With("reading " + sources.file),
                                  sources.file);
    ForEachLeaf(*parsed, "", [&](const std::string& name, const json::Value& value) {
      if (!name.empty())
        out.set.push_back({name, VariableOf(file, name), value, Origin::kFile, sources.file});
    });
    out.document = std::move(*parsed);
  }
  std::vector<std::pair<std::string, std::string>> known;  // variable, name
  ForEachLeaf(sample, "", [&](const std::string& name, const json::Value& value) {
    if (HasVariable(value)) known.emplace_back(VariableOf(file, name), name);
  });
  const std::string args = std::string(Prefix(file)) + "ARGS";
  // (WRIT_RUNNER_ARGS and WRIT_PLANE_ARGS are the service units': words of the command line.)
  for (const auto& [variable, text] : sources.environment) {
    if (!variable.starts_with(Prefix(file)) || variable == args) continue;
    const auto found = std::find_if(known.begin(), known.end(),
                                    [&](const auto& entry) { return entry.first == variable; });
    if (found == known.end())
      return Error{ErrorKind::kInvalid, "cli.variable_unknown",
                   "the environment variable " + variable + " stands for no setting",
                   "`writ config show --effective` lists them; unset it"};
    WRIT_ASSIGN(json::Value value, FromVariable(variable, text, *FindLeaf(sample, found->second)));
    put({found->second, variable, std::move(value), Origin::kEnvironment, variable});
  }
  for (const FlagSetting& flag : sources.flags)
    put({flag.name, VariableOf(file, flag.name), flag.value, Origin::kFlag, flag.flag});
  return out;
}

std::vector<Setting> Effective(SettingsFile file, const Layered& layered,
                               const json::Value& complete) {
  std::vector<Setting> out;
  ForEachLeaf(complete, "", [&](const std::string& name, const json::Value& value) {
    Setting setting{name, HasVariable(value) ? VariableOf(file, name) : "", value, Origin::kDefault,
                    ""};
    for (const Setting& set : layered.set) {
      if (set.name != name) continue;
      setting.origin = set.origin;
      setting.from = set.from;
    }
    out.push_back(std::move(setting));
  });
  return out;
}

json::Value WithoutPasswords(const json::Value& value) {
  const std::string* text = value.if_string();
  if (text == nullptr) return value;
  const std::size_t scheme = text->find("://");
  if (scheme == std::string::npos) return value;
  const std::size_t at = text->rfind('@');
  if (at == std::string::npos || at < scheme) return value;
  return json::Value(text->substr(0, scheme + 3) + "***" + text->substr(at));
}

std::string ShownValue(const json::Value& value) {
  constexpr std::size_t kMost = 72;
  std::string out = json::Write(WithoutPasswords(value));
  if (out.size() > kMost) {
    std::size_t cut = kMost - 3;
    while (cut > 0 && (static_cast<unsigned char>(out[cut]) & 0xC0) == 0x80) --cut;
    out = out.substr(0, cut) + "...";
  }
  return out;
}

}  // namespace writ::cli
