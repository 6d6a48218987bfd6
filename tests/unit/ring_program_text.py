"""What the program of a ring disassembles to, with the row and the key of its tests."""

from __future__ import annotations

TEXT = """\
0: r6 = r1
1: *(u32 *)(r10 -4) = 5
2: r1 = map[fd:11]
4: r2 = r10
5: r2 += -4
6: call map_lookup_elem#1
7: if r0 == 0x0 goto pc+153
8: r8 = r0
9: r9 = 0
10: r1 = *(u64 *)(r8 +0)
11: r2 = *(u64 *)(r8 +8)
12: r1 -= r2
13: r2 = *(u64 *)(r8 +16)
14: if r1 s<= r2 goto pc+5
15: call ktime_get_ns#5
16: r9 = r0
17: r1 = *(u64 *)(r8 +24)
18: if r9 < r1 goto pc+3
19: r9 = 0
20: r1 = *(u64 *)(r8 +56)
21: if r1 == 0x0 goto pc+137
22: r1 = *(u32 *)(r6 +16)
23: r2 = 14
24: if w1 == 0xdd86 goto pc+21
25: if w1 == 0x8 goto pc+1
26: goto pc+132
27: r1 = r6
28: r3 = r10
29: r3 += -48
30: r4 = 20
31: call skb_load_bytes#26
32: if r0 != 0x0 goto pc+126
33: r7 = *(u32 *)(r10 -36)
34: w7 *= 506952113
35: r1 = *(u32 *)(r10 -32)
36: w7 += w1
37: r1 = *(u16 *)(r10 -42)
38: r1 &= 65343
39: if r1 != 0x0 goto pc+52
40: r3 = *(u8 *)(r10 -39)
41: r2 = *(u8 *)(r10 -48)
42: r2 &= 15
43: r2 <<= 2
44: r2 += 14
45: goto pc+30
46: r1 = r6
47: r3 = r10
48: r3 += -48
49: r4 = 40
50: call skb_load_bytes#26
51: if r0 != 0x0 goto pc+107
52: r7 = *(u32 *)(r10 -40)
53: w7 *= 506952113
54: r1 = *(u32 *)(r10 -36)
55: w7 += w1
56: w7 *= 506952113
57: r1 = *(u32 *)(r10 -32)
58: w7 += w1
59: w7 *= 506952113
60: r1 = *(u32 *)(r10 -28)
61: w7 += w1
62: w7 *= 506952113
63: r1 = *(u32 *)(r10 -24)
64: w7 += w1
65: w7 *= 506952113
66: r1 = *(u32 *)(r10 -20)
67: w7 += w1
68: w7 *= 506952113
69: r1 = *(u32 *)(r10 -16)
70: w7 += w1
71: w7 *= 506952113
72: r1 = *(u32 *)(r10 -12)
73: w7 += w1
74: r3 = *(u8 *)(r10 -42)
75: r2 = 54
76: if r3 == 0x6 goto pc+6
77: if r3 == 0x11 goto pc+5
78: if r3 == 0x21 goto pc+4
79: if r3 == 0x32 goto pc+3
80: if r3 == 0x84 goto pc+2
81: if r3 == 0x88 goto pc+1
82: goto pc+9
83: r1 = r6
84: r3 = r10
85: r3 += -8
86: r4 = 4
87: call skb_load_bytes#26
88: if r0 != 0x0 goto pc+3
89: w7 *= 506952113
90: r1 = *(u32 *)(r10 -8)
91: w7 += w1
92: w7 *= 506952113
93: w7 >>= 22
94: if r9 == 0x0 goto pc+35
95: r1 = *(u64 *)(r8 +32)
96: if r1 == r7 goto pc+8
97: r2 = r9
98: r3 = *(u64 *)(r8 +40)
99: r2 -= r3
100: r2 >>= 32
101: if r2 != 0x0 goto pc+2
102: *(u64 *)(r8 +48) = r9
103: goto pc+7
104: *(u64 *)(r8 +32) = r7
105: *(u64 *)(r8 +40) = r9
106: r2 = r9
107: r3 = *(u64 *)(r8 +48)
108: r2 -= r3
109: r2 >>= 32
110: if r2 != 0x0 goto pc+48
111: *(u32 *)(r10 -4) = r7
112: r1 = map[fd:12]
114: r2 = r10
115: r2 += -4
116: call map_lookup_elem#1
117: if r0 == 0x0 goto pc+41
118: r1 = *(u64 *)(r8 +8)
119: r1 >>= 8
120: r2 = *(u32 *)(r0 +0)
121: if w1 == w2 goto pc+2
122: *(u32 *)(r0 +0) = r1
123: *(u32 *)(r0 +4) = 0
124: r1 = *(u32 *)(r0 +4)
125: if r1 >= 0x20 goto pc+37
126: r1 += 1
127: *(u32 *)(r0 +4) = r1
128: r1 = *(u64 *)(r8 +56)
129: if r1 == 0x0 goto pc+29
130: *(u32 *)(r10 -4) = r7
131: r1 = map[fd:12]
133: r2 = r10
134: r2 += -4
135: call map_lookup_elem#1
136: if r0 == 0x0 goto pc+22
137: r1 = *(u64 *)(r8 +8)
138: r1 >>= 6
139: r2 = *(u32 *)(r0 +8)
140: if w1 == w2 goto pc+2
141: *(u32 *)(r0 +8) = r1
142: *(u32 *)(r0 +12) = 0
143: r1 = *(u32 *)(r0 +12)
144: r2 = *(u32 *)(r6 +0)
145: w1 += w2
146: *(u32 *)(r0 +12) = r1
147: if r1 >= 0x5ea goto pc+11
148: *(u64 *)(r8 +56) = 0
149: call ktime_get_ns#5
150: *(u64 *)(r10 -56) = r0
151: *(u64 *)(r10 -64) = 5
152: r1 = map[fd:13]
154: r2 = r10
155: r2 += -64
156: r3 = 16
157: r4 = 2
158: call ringbuf_output#130
159: r1 = 1
160: lock *(u64 *)(r8 +0) += r1
161: w0 = -1
162: exit
163: w0 = 0
164: exit
"""
