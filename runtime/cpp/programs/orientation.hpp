// The way up of a picture, as the metadata of a PNG tells it.
#pragma once

#include <string>
#include <string_view>

#include "image.hpp"

// What ancillary chunks hold of it. Damaged or unknown ones count for nothing.
class Metadata {
  public:
    void add(std::string_view type, std::string_view data);

    // 1 to 8, as EXIF counts; 1 is upright.
    int orientation() const;

  private:
    void add_text(std::string_view type, std::string_view data);

    std::string exif_, exif_in_hex_, xmp_;
};

// The picture turned so that it stands as it was meant to.
Image upright(Image image, int orientation);
