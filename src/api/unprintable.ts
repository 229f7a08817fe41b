/**
 * What goes neither to a terminal nor into a line of the log as it is: C0, DEL, C1, line separators, directional marks
 * and overrides, what is invisible, unpaired surrogates. Peers, objects and clients may say anything.
 */
export const unprintable =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]|\p{Cs}/gu
