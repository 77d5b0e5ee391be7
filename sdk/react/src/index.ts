/** React hooks for an Archipelag network. */

export { ArchipelagProvider, useClient } from "./provider.js";
export {
  type Chat,
  type ChatMessage,
  type ChatState,
  type UseChatOptions,
  useChat,
} from "./useChat.js";
export { type ImageState, type UseImageOptions, useImage } from "./useImage.js";
