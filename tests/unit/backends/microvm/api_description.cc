#include "unit/backends/microvm/api_description.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <vector>

namespace writ::test {
namespace {

struct Line {
  std::size_t indent = 0;
  std::string text;
};

std::string Trimmed(std::string text) {
  while (!text.empty() && (text.back() == ' ' || text.back() == '\r')) text.pop_back();
  return text.substr(std::min(text.find_first_not_of(' '), text.size()));
}

std::string Unquoted(const std::string& text) {
  if (text.size() >= 2 && (text.front() == '"' || text.front() == '\'') &&
      text.back() == text.front())
    return text.substr(1, text.size() - 2);
  return text;
}

// Where a key ends; npos for a line that is no member of a map.
std::size_t KeyEnd(const std::string& text) {
  const bool quoted = text.front() == '"' || text.front() == '\'';
  const std::size_t from = quoted ? text.find(text.front(), 1) : 0;
  if (from == std::string::npos) return from;
  const auto colon = text.find(':', from);
  if (colon == std::string::npos || (colon + 1 < text.size() && text[colon + 1] != ' '))
    return std::string::npos;
  return text.find(' ') < colon && !quoted ? std::string::npos : colon;
}

class Yaml {
 public:
  explicit Yaml(std::string_view text) {
    std::istringstream in{std::string(text)};
    for (std::string line; std::getline(in, line);) {
      if (const auto comment = line.find(" #");
          comment != std::string::npos && line.find('"') == std::string::npos)
        line.erase(comment);
      const auto indent = line.find_first_not_of(' ');
      if (indent == std::string::npos || line[indent] == '#') continue;
      lines_.push_back({indent, Trimmed(line)});
    }
  }
  json::Value Read() {
    json::Value value = Block(0);
    if (at_ != lines_.size()) GiveUp("what is left");
    return value;
  }

 private:
  [[noreturn]] void GiveUp(const char* what) const {
    std::fprintf(stderr, "not read: %s at %s\n", what,
                 at_ < lines_.size() ? lines_[at_].text.c_str() : "the end");
    std::abort();
  }
  bool Here(std::size_t indent) const {
    return at_ < lines_.size() && lines_[at_].indent == indent;
  }
  bool IsItem() const { return lines_[at_].text.starts_with("- "); }

  json::Value Block(std::size_t indent) {
    if (!Here(indent)) GiveUp("a block");
    if (IsItem()) {
      json::Array list;
      while (Here(indent) && IsItem()) {
        lines_[at_].indent += 2;
        lines_[at_].text = Trimmed(lines_[at_].text.substr(2));
        list.push_back(KeyEnd(lines_[at_].text) != std::string::npos
                           ? Block(indent + 2)
                           : Scalar(lines_[at_++].text, indent));
      }
      return list;
    }
    json::Object map;
    while (Here(indent) && !IsItem()) {
      const std::string text = lines_[at_].text;
      const auto colon = KeyEnd(text);
      if (colon == std::string::npos) GiveUp("a member");
      ++at_;
      map.Set(Unquoted(text.substr(0, colon)), Member(Trimmed(text.substr(colon + 1)), indent));
    }
    return map;
  }

  json::Value Member(const std::string& rest, std::size_t indent) {
    if (!rest.empty()) return Scalar(rest, indent);
    if (at_ == lines_.size() || lines_[at_].indent < indent) return {};
    const std::size_t inner = lines_[at_].indent;
    if (inner == indent) return IsItem() ? Block(inner) : json::Value();
    if (IsItem() || KeyEnd(lines_[at_].text) != std::string::npos) return Block(inner);
    return Scalar(lines_[at_++].text, indent);
  }

  json::Value Scalar(const std::string& text, std::size_t indent) {
    while (at_ < lines_.size() && lines_[at_].indent > indent) ++at_;  // goes on
    if (text.front() != '[') return Unquoted(text);
    json::Array list;
    std::istringstream items(text.substr(1, text.size() - 2));
    for (std::string item; std::getline(items, item, ',');) list.push_back(Unquoted(Trimmed(item)));
    return list;
  }

  std::vector<Line> lines_;
  std::size_t at_ = 0;
};

bool MatchesPath(const std::string& pattern, const std::string& path) {
  std::istringstream want(pattern);
  std::istringstream got(path);
  std::string a;
  std::string b;
  for (;;) {
    const bool more = static_cast<bool>(std::getline(want, a, '/'));
    if (more != static_cast<bool>(std::getline(got, b, '/'))) return false;
    if (!more) return true;
    if (a != b && (!a.starts_with('{') || b.empty())) return false;
  }
}

}  // namespace

json::Value ReadYaml(std::string_view text) {
  return Yaml(text).Read();
}

const json::Value* ApiDescription::FindPath(const std::string& path) const {
  std::string inside = path;
  if (const json::Value* servers = description_.Find("servers")) {
    std::string base(servers->array()[0].FindString("url").value_or(""));
    base = base.substr(base.find('/', base.find("//") + 2));
    if (!inside.starts_with(base)) return nullptr;
    inside = inside.substr(base.size());
  }
  for (const json::Member& one : description_.Find("paths")->object())
    if (MatchesPath(one.name, inside)) return &one.value;
  return nullptr;
}

const json::Value* ApiDescription::BodySchema(const json::Value& operation) const {
  if (const json::Value* body = operation.Find("requestBody"))
    return body->Find("content")->Find("application/json")->Find("schema");
  const json::Value* parameters = operation.Find("parameters");
  if (parameters == nullptr) return nullptr;
  for (const json::Value& one : parameters->array())
    if (one.FindString("in") == "body") return one.Find("schema");
  return nullptr;
}

const json::Value& ApiDescription::Resolve(const json::Value& schema) const {
  const auto ref = schema.FindString("$ref");
  if (!ref) return schema;
  const json::Value* at = &description_;
  std::istringstream steps{std::string(ref->substr(2))};
  for (std::string step; std::getline(steps, step, '/');) {
    at = at->Find(step);
    if (at == nullptr) std::abort();
  }
  return Resolve(*at);
}

std::string ApiDescription::Check(const json::Value& value, const json::Value& raw,
                                  const std::string& at) const {
  const json::Value& schema = Resolve(raw);
  const auto type = schema.FindString("type").value_or("object");
  if (const json::Value* choices = schema.Find("enum")) {
    const json::Array& all = choices->array();
    if (std::find(all.begin(), all.end(), value) == all.end()) return at + " is none of its enum";
  }
  if (type == "string") return value.is_string() ? "" : at + " is no string";
  if (type == "boolean") return value.is_bool() ? "" : at + " is no boolean";
  if (type == "integer") {
    if (!value.AsInteger()) return at + " is no integer";
    auto bound = [&](const char* name) -> std::optional<std::int64_t> {
      const auto text = schema.FindString(name);
      if (!text) return std::nullopt;
      return std::stoll(std::string(*text));
    };
    if (auto least = bound("minimum"); least && *value.AsInteger() < *least) return at + " is low";
    if (auto most = bound("maximum"); most && *value.AsInteger() > *most) return at + " is high";
    return "";
  }
  if (type == "array") {
    if (!value.is_array()) return at + " is no array";
    for (const json::Value& one : value.array())
      if (auto why = Check(one, *schema.Find("items"), at + "[]"); !why.empty()) return why;
    return "";
  }
  if (!value.is_object()) return at + " is no object";
  if (const json::Value* required = schema.Find("required"))
    for (const json::Value& name : required->array())
      if (value.Find(name.string()) == nullptr) return at + " has no " + name.string();
  const json::Value* properties = schema.Find("properties");
  for (const json::Member& one : value.object()) {
    const json::Value* known = properties == nullptr ? nullptr : properties->Find(one.name);
    if (known == nullptr) return at + "." + one.name + " is not described";
    if (auto why = Check(one.value, *known, at + "." + one.name); !why.empty()) return why;
  }
  return "";
}

std::string ApiDescription::WhyNot(const std::string& method, const std::string& path,
                                   const json::Value& body, int status) const {
  const json::Value* entry = FindPath(path);
  if (entry == nullptr) return "there is no path " + path;
  std::string lower = method;
  for (char& c : lower) c = static_cast<char>(c | 0x20);
  const json::Value* operation = entry->Find(lower);
  if (operation == nullptr) return path + " has no " + method;
  if (operation->Find("responses")->Find(std::to_string(status)) == nullptr)
    return method + " " + path + " is not answered by " + std::to_string(status);
  const json::Value* schema = BodySchema(*operation);
  if (schema == nullptr) return body.is_null() ? "" : path + " takes no body";
  if (body.is_null()) return path + " has no body";
  return Check(body, *schema, path);
}

}  // namespace writ::test
