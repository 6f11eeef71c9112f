// writ image build, and what it and its neighbours say of guest images.
#pragma once

#include <string>

#include "context.h"
#include "writ/backends/image/image_store.h"
#include "writ/backends/microvm/recipe_build.h"

namespace CLI {
class App;
}

namespace writ::cli {

void AddImageBuild(CLI::App& group, Context& context);

// Where steps of recipes are kept.
std::string RecipesDir(const Context& context);

json::Object ImageJson(const backends::image::ImageRecord& record);
// With what is in it.
json::Object GuestImageJson(const backends::image::ImageStore& store,
                            const backends::image::ImageRecord& record);
// And how it came.
json::Object InspectGuestImage(const backends::image::ImageStore& store,
                               const backends::image::ImageRecord& record);

}  // namespace writ::cli
