#include "writ/protocol/reader.h"

#include <algorithm>

#include "exact_time.h"

namespace writ::json {

std::string Issue::ToString() const {
  return (pointer.empty() ? std::string("the root") : pointer) + ": " + message;
}

void Issues::Add(std::string code, std::string pointer, std::string message) {
  if (list_.size() >= 100) return;
  list_.push_back({std::move(code), std::move(pointer), std::move(message)});
}

Status Issues::ToStatus(std::string_view what) const {
  if (list_.empty()) return {};
  std::string message = std::string(what) + " is refused: ";
  for (std::size_t i = 0; i < list_.size() && i < 5; ++i)
    message.append(i == 0 ? "" : "; ").append(list_[i].ToString());
  if (list_.size() > 5) message.append("; and " + std::to_string(list_.size() - 5) + " more");
  return Error{.kind = ErrorKind::kInvalid, .code = list_[0].code, .message = std::move(message)};
}

ObjectReader::ObjectReader(Issues& issues, const Value& value, std::string pointer)
    : issues_(&issues), object_(value.if_object()), pointer_(std::move(pointer)) {
  if (object_ == nullptr) {
    issues_->Add("object.type", pointer_, "must be an object");
    silent_ = true;
  }
}

bool ObjectReader::Has(std::string_view name) const {
  return object_ != nullptr && object_->Contains(name);
}

const Value* ObjectReader::Find(std::string_view name) {
  if (known_.find(name) == known_.end()) known_.emplace(name);
  return object_ != nullptr ? object_->Find(name) : nullptr;
}

const Value* ObjectReader::Require(std::string_view name) {
  const Value* value = Find(name);
  if (value == nullptr && !silent_) issues_->Add("object.missing", PointerOf(name), "is required");
  return value;
}

std::optional<std::string> ObjectReader::CheckText(const Value& value, const std::string& where,
                                                   const TextRule& rule) {
  const std::string* text = value.if_string();
  if (text == nullptr) {
    issues_->Add("object.type", where, "must be a string");
    return std::nullopt;
  }
  if (text->size() < rule.min_bytes) {
    issues_->Add("object.range", where,
                 "must have at least " + std::to_string(rule.min_bytes) + " bytes");
    return std::nullopt;
  }
  if (text->size() > rule.max_bytes) {
    issues_->Add("object.range", where,
                 "must have at most " + std::to_string(rule.max_bytes) + " bytes");
    return std::nullopt;
  }
  if (rule.pattern != nullptr && !rule.pattern(*text)) {
    issues_->Add("object.pattern", where, "must be " + std::string(rule.pattern_words));
    return std::nullopt;
  }
  return *text;
}

std::string ObjectReader::String(std::string_view name, const TextRule& rule) {
  const Value* value = Require(name);
  return value != nullptr ? CheckText(*value, PointerOf(name), rule).value_or("") : "";
}

std::optional<std::string> ObjectReader::OptionalString(std::string_view name,
                                                        const TextRule& rule) {
  const Value* value = Find(name);
  return value != nullptr ? CheckText(*value, PointerOf(name), rule) : std::nullopt;
}

bool ObjectReader::Bool(std::string_view name) {
  Require(name);
  return OptionalBool(name).value_or(false);
}

std::optional<bool> ObjectReader::OptionalBool(std::string_view name) {
  const Value* value = Find(name);
  if (value == nullptr) return std::nullopt;
  if (const bool* b = value->if_bool()) return *b;
  issues_->Add("object.type", PointerOf(name), "must be true or false");
  return std::nullopt;
}

double ObjectReader::Number(std::string_view name, double min, double max) {
  Require(name);
  return OptionalNumber(name, min, max).value_or(min);
}

std::optional<double> ObjectReader::OptionalNumber(std::string_view name, double min, double max) {
  const Value* value = Find(name);
  if (value == nullptr) return std::nullopt;
  const double* number = value->if_number();
  if (number == nullptr) {
    issues_->Add("object.type", PointerOf(name), "must be a number");
    return std::nullopt;
  }
  if (*number < min || *number > max) {
    issues_->Add("object.range", PointerOf(name),
                 "must be from " + Write(Value(min)) + " to " + Write(Value(max)));
    return std::nullopt;
  }
  return *number;
}

std::int64_t ObjectReader::Integer(std::string_view name, std::int64_t min, std::int64_t max) {
  Require(name);
  return OptionalInteger(name, min, max).value_or(min);
}

std::optional<std::int64_t> ObjectReader::OptionalInteger(std::string_view name, std::int64_t min,
                                                          std::int64_t max) {
  const Value* value = Find(name);
  if (value == nullptr) return std::nullopt;
  const std::optional<std::int64_t> number = value->AsInteger();
  if (!number) {
    issues_->Add("object.type", PointerOf(name), "must be an integer");
    return std::nullopt;
  }
  if (*number < min || *number > max) {
    issues_->Add("object.range", PointerOf(name),
                 "must be from " + std::to_string(min) + " to " + std::to_string(max));
    return std::nullopt;
  }
  return number;
}

WallTime ObjectReader::Time(std::string_view name) {
  const Value* value = Require(name);
  if (value == nullptr) return {};
  const std::string* text = value->if_string();
  if (text != nullptr) {
    if (const std::optional<WallTime> time = ExactTime(*text)) return *time;
  }
  issues_->Add("object.time", PointerOf(name), "must be a UTC time like 2026-06-22T05:05:48.993Z");
  return {};
}

std::vector<std::string> ObjectReader::Strings(std::string_view name, const TextRule& rule) {
  std::vector<std::string> out;
  ForEach(name, [&](const Value& item, const std::string& where) {
    if (auto text = CheckText(item, where, rule)) out.push_back(std::move(*text));
  });
  return out;
}

std::optional<std::vector<std::string>> ObjectReader::OptionalStrings(std::string_view name,
                                                                      const TextRule& rule) {
  if (Find(name) == nullptr) return std::nullopt;
  return Strings(name, rule);
}

void ObjectReader::Literal(std::string_view name, std::string_view expected) {
  const Value* value = Require(name);
  if (value == nullptr) return;
  const std::string* text = value->if_string();
  if (text == nullptr || *text != expected)
    issues_->Add("object.version", PointerOf(name), "must be \"" + std::string(expected) + "\"");
}

ObjectReader ObjectReader::Child(std::string_view name) {
  static const Value kEmpty{Object()};
  const Value* value = Require(name);
  ObjectReader child(*issues_, value != nullptr ? *value : kEmpty, PointerOf(name));
  if (value == nullptr) child.silent_ = true;
  return child;
}

std::optional<ObjectReader> ObjectReader::OptionalChild(std::string_view name) {
  const Value* value = Find(name);
  if (value == nullptr) return std::nullopt;
  return ObjectReader(*issues_, *value, PointerOf(name));
}

void ObjectReader::ForEach(std::string_view name,
                           const std::function<void(const Value&, const std::string&)>& visit,
                           std::size_t max_items) {
  const Value* value = Require(name);
  if (value == nullptr) return;
  const Array* items = value->if_array();
  if (items == nullptr) {
    issues_->Add("object.type", PointerOf(name), "must be an array");
    return;
  }
  if (items->size() > max_items) {
    issues_->Add("object.range", PointerOf(name),
                 "must have at most " + std::to_string(max_items) + " elements");
    return;
  }
  const std::string base = PointerOf(name);
  for (std::size_t i = 0; i < items->size(); ++i) visit((*items)[i], PointerTo(base, i));
}

void ObjectReader::ForEachObject(std::string_view name,
                                 const std::function<void(ObjectReader&)>& visit,
                                 std::size_t max_items) {
  ForEach(
      name,
      [&](const Value& item, const std::string& where) {
        ObjectReader reader(*issues_, item, where);
        visit(reader);
      },
      max_items);
}

void ObjectReader::ForEachMember(
    std::string_view name,
    const std::function<void(const std::string&, const Value&, const std::string&)>& visit) {
  const Value* value = Require(name);
  if (value == nullptr) return;
  const Object* members = value->if_object();
  if (members == nullptr) {
    issues_->Add("object.type", PointerOf(name), "must be an object");
    return;
  }
  const std::string base = PointerOf(name);
  for (const Member& member : *members)
    visit(member.name, member.value, PointerTo(base, member.name));
}

void ObjectReader::RefuseUnknown() {
  if (object_ == nullptr) return;
  for (const Member& member : *object_) {
    if (known_.find(member.name) == known_.end())
      issues_->Add("object.unknown", PointerOf(member.name), "is not a known member");
  }
}

}  // namespace writ::json
