"""What the program of a ring disassembles to, with the row and the key of its tests."""

from __future__ import annotations

TEXT = """\
0: r6 = r1
1: *(u32 *)(r10 -4) = 5
2: r1 = map[fd:11]
4: r2 = r10
5: r2 += -4
6: call map_lookup_elem#1
7: if r0 == 0x0 goto pc+117
8: r8 = r0
9: r1 = *(u64 *)(r8 +0)
10: r2 = *(u64 *)(r8 +8)
11: r1 -= r2
12: r2 = *(u64 *)(r8 +16)
13: if r1 s<= r2 goto pc+109
14: call ktime_get_ns#5
15: r9 = r0
16: r1 = *(u64 *)(r8 +24)
17: if r9 >= r1 goto pc+105
18: r1 = *(u32 *)(r6 +16)
19: r2 = 14
20: if w1 == 0xdd86 goto pc+21
21: if w1 == 0x8 goto pc+1
22: goto pc+100
23: r1 = r6
24: r3 = r10
25: r3 += -48
26: r4 = 20
27: call skb_load_bytes#26
28: if r0 != 0x0 goto pc+94
29: r7 = *(u32 *)(r10 -36)
30: w7 *= 506952113
31: r1 = *(u32 *)(r10 -32)
32: w7 += w1
33: r1 = *(u16 *)(r10 -42)
34: r1 &= 65343
35: if r1 != 0x0 goto pc+52
36: r3 = *(u8 *)(r10 -39)
37: r2 = *(u8 *)(r10 -48)
38: r2 &= 15
39: r2 <<= 2
40: r2 += 14
41: goto pc+30
42: r1 = r6
43: r3 = r10
44: r3 += -48
45: r4 = 40
46: call skb_load_bytes#26
47: if r0 != 0x0 goto pc+75
48: r7 = *(u32 *)(r10 -40)
49: w7 *= 506952113
50: r1 = *(u32 *)(r10 -36)
51: w7 += w1
52: w7 *= 506952113
53: r1 = *(u32 *)(r10 -32)
54: w7 += w1
55: w7 *= 506952113
56: r1 = *(u32 *)(r10 -28)
57: w7 += w1
58: w7 *= 506952113
59: r1 = *(u32 *)(r10 -24)
60: w7 += w1
61: w7 *= 506952113
62: r1 = *(u32 *)(r10 -20)
63: w7 += w1
64: w7 *= 506952113
65: r1 = *(u32 *)(r10 -16)
66: w7 += w1
67: w7 *= 506952113
68: r1 = *(u32 *)(r10 -12)
69: w7 += w1
70: r3 = *(u8 *)(r10 -42)
71: r2 = 54
72: if r3 == 0x6 goto pc+6
73: if r3 == 0x11 goto pc+5
74: if r3 == 0x21 goto pc+4
75: if r3 == 0x32 goto pc+3
76: if r3 == 0x84 goto pc+2
77: if r3 == 0x88 goto pc+1
78: goto pc+9
79: r1 = r6
80: r3 = r10
81: r3 += -8
82: r4 = 4
83: call skb_load_bytes#26
84: if r0 != 0x0 goto pc+3
85: w7 *= 506952113
86: r1 = *(u32 *)(r10 -8)
87: w7 += w1
88: w7 *= 506952113
89: w7 >>= 22
90: r1 = *(u64 *)(r8 +32)
91: if r1 == r7 goto pc+8
92: r2 = r9
93: r3 = *(u64 *)(r8 +40)
94: r2 -= r3
95: r2 >>= 32
96: if r2 != 0x0 goto pc+2
97: *(u64 *)(r8 +48) = r9
98: goto pc+7
99: *(u64 *)(r8 +32) = r7
100: *(u64 *)(r8 +40) = r9
101: r2 = r9
102: r3 = *(u64 *)(r8 +48)
103: r2 -= r3
104: r2 >>= 32
105: if r2 != 0x0 goto pc+17
106: *(u32 *)(r10 -4) = r7
107: r1 = map[fd:12]
109: r2 = r10
110: r2 += -4
111: call map_lookup_elem#1
112: if r0 == 0x0 goto pc+10
113: r1 = *(u64 *)(r8 +8)
114: r1 >>= 8
115: r2 = *(u32 *)(r0 +0)
116: if w1 == w2 goto pc+2
117: *(u32 *)(r0 +0) = r1
118: *(u32 *)(r0 +4) = 0
119: r1 = *(u32 *)(r0 +4)
120: if r1 >= 0x20 goto pc+6
121: r1 += 1
122: *(u32 *)(r0 +4) = r1
123: r1 = 1
124: lock *(u64 *)(r8 +0) += r1
125: w0 = -1
126: exit
127: w0 = 0
128: exit
"""
