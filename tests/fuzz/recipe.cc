// Any text is a recipe or an error that names its line; what is a recipe keeps to its bounds.
#include "writ/backends/microvm/recipe.h"

#include <cstdint>
#include <cstdlib>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  namespace microvm = writ::backends::microvm;
  auto recipe = microvm::ParseRecipe({reinterpret_cast<const char*>(data), size});
  if (!recipe) {
    if (recipe.error().code.rfind("recipe.", 0) != 0 || recipe.error().hint.empty()) std::abort();
    return 0;
  }
  if (recipe->steps.size() > microvm::kMaxRecipeSteps || recipe->base_line == 0) std::abort();
  microvm::GuestConfig config;
  for (const microvm::RecipeStep& step : recipe->steps) {
    if (step.line <= recipe->base_line) std::abort();
    for (const std::string& source : step.sources)
      if (source.empty() || source.front() == '/' ||
          ("/" + source + "/").find("/../") != std::string::npos)
        std::abort();
    if (step.kind == microvm::RecipeStep::Kind::kCopy &&
        (step.target.front() != '/' || (step.target + "/").find("/../") != std::string::npos))
      std::abort();
    microvm::Apply(step, config);
  }
  (void)microvm::WarmUpOf(config);
  return 0;
}
