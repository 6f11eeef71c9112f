// ApiDescription: a published API (OpenAPI 3 or Swagger 2, in the YAML that monitors' projects
// write) and whether a request is one of it.
#pragma once

#include <string>
#include <string_view>

#include "writ/protocol/json.h"

namespace writ::test {

// YAML as these descriptions use it: block maps and lists, plain, quoted and folded scalars, flow
// lists. A scalar stays a string; texts of more than one line are cut to their first. Aborts on
// anything else.
json::Value ReadYaml(std::string_view text);

class ApiDescription {
 public:
  explicit ApiDescription(json::Value description) : description_(std::move(description)) {}

  // Empty where the path has the method, the body is of its schema - required members there, no
  // member that it does not name, types and enums right - and `status` is an answer it may get;
  // else what is wrong. A null body: none.
  std::string WhyNot(const std::string& method, const std::string& path, const json::Value& body,
                     int status) const;

 private:
  const json::Value* FindPath(const std::string& path) const;
  const json::Value* BodySchema(const json::Value& operation) const;
  const json::Value& Resolve(const json::Value& schema) const;
  std::string Check(const json::Value& value, const json::Value& schema,
                    const std::string& at) const;
  json::Value description_;
};

}  // namespace writ::test
