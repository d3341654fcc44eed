// Detect objects in an image: run_onnx MODEL.onnx IMAGE (onnxruntime and stb)
#include <onnxruntime_cxx_api.h>
#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_RESIZE_IMPLEMENTATION
#include <stb/stb_image.h>
#include <stb/stb_image_resize.h>

int main(int, char** argv) {
  Ort::Env environment;
  Ort::Session session(environment, argv[1], Ort::SessionOptions());
  Ort::AllocatorWithDefaultOptions memory;
  auto facts = session.GetModelMetadata();
  float shortest = 0, longest = 1e9f, min_score = 0.3f;  // the file's own, where it has them
  std::sscanf(facts.LookupCustomMetadataMapAllocated("resize", memory).get(),
              "{\"shortest\": %f, \"longest\": %f", &shortest, &longest);
  std::sscanf(facts.LookupCustomMetadataMapAllocated("min_score", memory).get(), "%f", &min_score);

  int width, height;
  auto* image = stbi_load(argv[2], &width, &height, nullptr, 3);  // RGB, row by row
  float scale = std::min(shortest / std::min(width, height), longest / std::max(width, height));
  if (!shortest) scale = 1;
  int64_t w = width * scale + 0.5f, h = height * scale + 0.5f, shape[] = {1, 3, h, w}, two[] = {1, 2};
  std::vector<unsigned char> resized(3 * w * h);
  stbir_resize_uint8_generic(image, width, height, 0, resized.data(), w, h, 0, 3, STBIR_ALPHA_CHANNEL_NONE, 0,
                             STBIR_EDGE_CLAMP, STBIR_FILTER_TRIANGLE, STBIR_COLORSPACE_LINEAR, nullptr);
  std::vector<float> pixels(resized.size());  // channel by channel
  for (int64_t i = 0; i < 3 * w * h; i++) pixels[i % 3 * w * h + i / 3] = resized[i];

  auto cpu = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  Ort::Value inputs[] = {Ort::Value::CreateTensor(cpu, pixels.data(), pixels.size(), shape, 4),
                         Ort::Value::CreateTensor(cpu, shape + 2, 2, two, 2)};
  const char *in[] = {"images", "sizes"}, *out[] = {"boxes", "scores", "labels"};
  auto outputs = session.Run(Ort::RunOptions(), in, inputs, 2, out, 3);
  auto *box = outputs[0].GetTensorData<float>(), *score = outputs[1].GetTensorData<float>();
  for (size_t i = 0; i < outputs[1].GetTensorTypeAndShapeInfo().GetElementCount(); i++, box += 4)
    if (score[i] >= min_score)  // boxes in pixels of the image
      std::printf("%d %.2f %.1f %.1f %.1f %.1f\n", int(outputs[2].GetTensorData<int64_t>()[i]), score[i],
                  box[0] * width / w, box[1] * height / h, box[2] * width / w, box[3] * height / h);
}
