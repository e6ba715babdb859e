"""How an examination is done: what descriptions call devices, contrast, techniques, views and sides.

Each row of the lexicon: words separated by |, and what they say as "kind:value" pairs. A space in an
English word matches a space, hyphen, dot or nothing.
"""

from typing import Final

LEXICON: Final[tuple[tuple[str, str], ...]] = (
    # Devices
    (
        "CT|MDCT|MSCT|HRCT|电子计算机断层|螺旋扫描|X线计算机断层扫描|X线计算机断层|X线计算机体层|X射线计算机体层|X射线计算机断层|计算机体层",
        "device:CT",
    ),
    ("MR|MRI|NMR|CMRI|MRT|核磁共振|磁共振|核磁", "device:MR"),
    ("DR|CR|DX|XR|X线|X光|X RAY|XRAY|RADIOGRAPH|RADIOGRAPHY|平片|摄片|拍片|照片", "device:XR"),
    ("乳腺X线|乳腺X光|钼靶|MAMMOGRAPHY|MAMMOGRAM|MAMMO|DIGITAL MAMMO", "device:MG part:BREAST"),
    ("胸片", "device:XR part:CHEST"),
    ("骨盆平片|骨盆片", "device:XR part:BONYPELVIS view:frontal"),
    ("NCCT|NECT", "device:CT contrast:plain"),
    ("CECT", "device:CT contrast:enhanced"),
    ("彩超|超声|B超|ULTRASOUND|DOPPLER", "device:US"),
    ("心电图|ECG|EKG", "device:ECG"),
    ("胃镜|肠镜", "device:OTHER"),
    # Contrast
    ("平扫增强|平增|平扫加增强|CT平[+]增", "contrast:plain contrast:enhanced"),
    ("平扫|普通扫描|常规扫描|PLAIN|NATIVE|UNENHANCED|NON ENHANCED|PINGSAO", "contrast:plain"),
    (
        "不做增强|无需增强|不行增强|未行增强|拒绝增强|不增强|未增强|非增强|无增强|不加增强|NON CONTRAST|NON CON|NONCON|NO CONTRAST|NO IV CONTRAST|NO C"
        "|NO CE|NON CE|NO GD|NO GADOLINIUM|NO ENHANCEMENT",
        "contrast:plain",
    ),
    ("CE", "contrast:enhanced"),
    (
        "增强|强化扫描|造影增强|注射造影剂|ENHANCED|ENHANCEMENT|WITH CONTRAST|POST CONTRAST|POST GD|PRE POST|PRE AND POST|PRE/POST|POST INJ"
        "|IV CONTRAST|CONTRAST|GADOLINIUM|GD|DCE|ZENGQIANG",
        "contrast:enhanced",
    ),
    (
        "动脉期|静脉期|门静脉期|门脉期|延迟期|平衡期|实质期|皮质期|髓质期|排泄期|双期|三期|四期|多期|动态扫描|动态增强"
        "|ARTERIAL|VENOUS|PORTAL|DELAYED|DELAY|TRI PHASE|TRIPHASIC|TRIPHASE|BIPHASE|BIPHASIC|2 PHASE|3 PHASE|4 PHASE|MULTI PHASE|MULTIPHASE|DUAL PHASE"
        "|ART|VEN|DYNAMIC|DYN",
        "contrast:enhanced",
    ),
    (
        "SMARTPREP|SMART PREP|BOLUS|PREMONITORING|MONITORING|SURESTART|监测扫描",
        "contrast:enhanced localizer:1",
    ),
    # Techniques on the list
    ("低剂量|LOW DOSE|LOWDOSE|LDCT|LDCHEST|DIJILIANG", "technique:low_dose"),
    ("肺癌筛查|LUNG SCREENING|LUNG CANCER SCREENING", "part:CHEST technique:low_dose device:CT"),
    (
        "CTA|CT造影|CT血管成像|CT血管造影|CT动脉成像|CT ANGIOGRAPHY|CT ANGIOGRAM|CT ANGIO|ANGIO CT",
        "technique:angiography device:CT",
    ),
    ("血管成像|血管造影|动脉成像|ANGIOGRAPHY|ANGIOGRAM|ANGIO", "technique:angiography"),
    ("CCTA", "technique:angiography device:CT part:CORONARYARTERY"),
    ("冠脉造影|冠状动脉造影|冠脉CT造影", "part:CORONARYARTERY technique:angiography"),
    ("主动脉造影|主动脉CT造影", "part:AORTA technique:angiography"),
    ("肺动脉造影|肺动脉成像|肺动脉CT造影", "exam:CHEST/pulmonary_angiography"),
    ("MRA|磁共振血管成像|MR ANGIOGRAPHY|MR ANGIO", "technique:angiography device:MR"),
    ("TOF", "technique:angiography"),
    ("MRV|磁共振静脉成像|MR VENOGRAPHY|MR VENOGRAM|静脉窦成像", "technique:venography device:MR"),
    ("CTV|CT静脉成像|CT静脉造影|CT VENOGRAPHY|CT VENOGRAM", "technique:venography device:CT"),
    ("静脉成像|VENOGRAPHY|VENOGRAM", "technique:venography"),
    (
        "CTPA|CTPE|PE PROTOCOL|PULMONARY EMBOLISM|PULMONARY EMBOLUS|PULM EMB|肺栓塞|PE STUDY|PE CHEST|CHEST PE|CTA PULMONARY|CTA PULM|ANGIO PULMONARY|CTA PE|PE CTA|CT PE|PE CT|ANGIO PE",
        "exam:CHEST/pulmonary_angiography",
    ),
    (
        "CTU|CT尿路成像|CT尿路造影|CT泌尿系成像|CT泌尿系造影|CT UROGRAPHY|CT UROGRAM|CT URO",
        "exam:KIDNEY/urography device:CT",
    ),
    ("MRU|磁共振尿路成像|尿路水成像|泌尿系水成像|MR UROGRAPHY", "exam:KIDNEY/urography device:MR"),
    ("尿路成像|尿路造影|泌尿系造影|静脉肾盂造影|UROGRAPHY|UROGRAM|IVU|IVP", "exam:KIDNEY/urography"),
    (
        "MRCP|MR胆胰管造影|MR胰胆管造影|MR胆道造影|磁共振胰胆管造影|磁共振胆胰管造影|磁共振胰胆管成像|磁共振胆胰管成像|胰胆管水成像|胆胰管水成像|胆道水成像|胰胆管成像|CHOLANGIOPANCREATOGRAPHY"
        "|CHOLANGIOGRAPHY",
        "exam:BILEDUCT/cholangiography",
    ),
    ("MR水成像|水成像|水造影", "plain_addition:1"),
    # Techniques on no list: an examination by them alone is not a listed one
    (
        "灌注成像|灌注|PERFUSION|CTP|PWI|ASL|钙化积分|钙化评分|CALCIUM SCORE|CALCIUM SCORING|CASCORE|CASC|CA SCORE"
        "|弥散成像|弥散加权|弥散|扩散|DWI|IVIM|DTI|SWI|磁敏感|波谱|MRS|FMRI|BOLD|功能成像|延迟强化|LGE|弹性成像|MRE"
        "|关节造影|ARTHROGRAM|ARTHROGRAPHY|COLONOGRAPHY|结肠成像|小肠造影|仿真内镜|骨密度|QCT|BMD|电影成像|T2 STAR"
        "|骨龄|BONE AGE|脂肪定量|铁定量|铁过载|铁沉积|磁化率|定量|弹性|三维打印|3D打印|测量|置换术前|纤维束|虚拟内镜|斑块|VESSEL WALL|血管壁|黑血|能谱成像|脑脊液|CSF FLOW|透视|钡餐|造影|DSA|多参数|MULTIPARAMETRIC|MPMRI",
        "special:1",
    ),
    # What makes a study something else altogether
    (
        "会诊|读片|阅片|取消|未成功|失败|作废|未完成|中止|未做|退费|未检|引导下?|穿刺|活检|消融|介入|置管|BIOPSY|GUIDED|GUIDANCE|ABLATION|DRAINAGE|INTERVENTION|放疗定位|定位CT|CT定位扫描"
        "|放疗计划|模拟定位|SIMULATION|RT SIM|CT SIM|RT PLAN|PLANNING|TREATMENT PLAN|SBRT|PET CT|PET/CT|PET MR|PET/MR"
        "|PET|PETCT|SPECT CT|SPECT/CT|SPECT|ATTENUATION CORRECTION|CTAC|AC CT|骨扫描|CBCT|CONE BEAM|术中|INTRAOP"
        "|INTRAOPERATIVE|PHANTOM|模体|水模|质控扫描|QA TEST|尸检|POSTMORTEM",
        "exclude:1",
    ),
    # Scans that are no examination of their own
    (
        "定位像|定位片|定位图|TOPOGRAM|SCOUT|SCOUTS|SCOUT VIEW|SURVIEW|SCANOGRAM|LOCALIZER|LOCALISER|LOC|3 PL LOC"
        "|3 PLANE LOC|SURVEY|PILOT|DUALSCANO|SCANO|剂量报告|辐射剂量|DOSE REPORT|DOSE INFO|DOSE RECORD|DOSE SUMMARY|DOSE"
        "|PATIENT PROTOCOL|SCREEN SAVE|SCREENSAVE|CALIBRATION|CALIB|ASSET CAL|REF SCAN|SECONDARY CAPTURE"
        "|KEY IMAGES|SUMMARY|REPORT",
        "localizer:1",
    ),
    # MR sequences: they say that images were made, not of what
    ("T1W|T1WI|T1|T2W|T2WI|T2|PDW|PDWI|PD|STIR|TIRM|FLAIR|TSE|FSE|FRFSE|SPAIR|VIBE|LAVA|DIXON", "sequence:1"),
    # Views
    ("正侧双斜位?|正侧位双斜位?|正侧位及双斜位?", "view:frontal view:lateral view:obliques"),
    ("正侧斜位?", "view:frontal view:lateral view:oblique"),
    ("正侧位?|正、侧位?|正位侧位|正位、侧位|ZHENGCEWEI", "view:frontal view:lateral"),
    ("正斜位?|正、斜位?|正位斜位|正位、斜位|ZHENGXIEWEI", "view:frontal view:oblique"),
    ("双斜位?|左右斜位?|双侧斜位?|左、右斜位|左右双斜位?|SHUANGXIEWEI", "view:obliques"),
    ("左前斜位?|左后斜位?|左斜位?|LAO|LPO|LLO", "view:oblique_left"),
    ("右前斜位?|右后斜位?|右斜位?|RAO|RPO|RLO", "view:oblique_right"),
    ("斜位|OBLIQUE|OBL", "view:oblique"),
    (
        "OBLIQUES|OBLS|BOTH OBLIQUES|BOTH OBLIQUE|BILATERAL OBLIQUES|BILATERAL OBLIQUE|BILAT OBLIQUES|BILAT OBL|BIL OBL",
        "view:obliques",
    ),
    ("立卧位|立、卧位|卧立位|立位卧位|SUPINE ERECT|ERECT SUPINE|SUPINE UPRIGHT", "view:erect view:supine"),
    ("侧卧位|水平侧位|DECUBITUS|DECUB|LLD|RLD", "view:extra"),
    ("站立位|直立位|立位|立(?=[片、])|UPRIGHT|ERECT|STANDING|LIWEI", "view:erect"),
    ("仰卧位|平卧位|卧位|卧(?=[片、])|SUPINE|RECUMBENT|WOWEI", "view:supine"),
    ("正位|后前位|前后位|正(?=[、,])|FRONTAL|AP|PA|A/P|P/A|ZHENGWEI", "view:frontal"),
    ("双侧位|左侧位|右侧位|左右侧位|侧位|LATERAL|LAT|LATERALS|LL|RL|CEWEI", "view:lateral"),
    (
        "PA LAT|AP LAT|PA/LAT|AP/LAT|PA & LAT|AP & LAT|2 VIEWS|2 VIEW|2VW|2V|TWO VIEWS|TWO VIEW",
        "view:frontal view:lateral",
    ),
    ("1 VIEW|1V|ONE VIEW|SINGLE VIEW", "view:frontal"),
    (
        "3 VIEWS|3V|3 VIEW|4 VIEWS|4V|4 VIEW|5 VIEWS|THREE VIEWS|FOUR VIEWS|COMPLETE|六位片|七位片|五位片",
        "view:unknown",
    ),
    ("华柯氏?位?|华氏柯氏位?|华氏位?及柯氏位?", "view:waters view:extra"),
    (
        "华氏位?|瓦氏位?|华特氏?位?|顶颏位|WATERS|WATER VIEW|WATERS VIEW|OM VIEW|OCCIPITOMENTAL|HUASHI",
        "view:waters",
    ),
    (
        "柯氏位?|汤氏位?|轴位|切线位|张口位|开口位|过伸过屈位?|过屈过伸位?|过伸位?|过屈位?|动力位|功能位|蛙式?位|应力位|穿胸位"
        "|Y位|出入口位|入口位|出口位|前凸位|CALDWELL|TOWNE|AXIAL VIEW|SUNRISE|SKYLINE|MERCHANT|ODONTOID|OPEN MOUTH"
        "|FLEXION|EXTENSION|FROG LEG|FROG|SCAPULAR Y|STRESS",
        "view:extra",
    ),
    (
        "全脊柱|脊柱全长|全脊椎|WHOLE SPINE|FULL SPINE|ENTIRE SPINE|TOTAL SPINE|SCOLIOSIS|QUANJIZHU",
        "part:SPINE view:full_length",
    ),
    ("全长位?片?|拼接|FULL LENGTH|LONG FILM|STITCHED", "view:full_length"),
    # Sides
    ("双侧|两侧|双|左右侧?|BILATERAL|BILAT|BIL|BOTH|SHUANGCE", "side:B"),
    ("左侧?|LEFT|LT|ZUOCE|ZUO", "side:L"),
    ("右侧?|RIGHT|RT|YOUCE|YOU", "side:R"),
    ("SCREENING|筛查|乳腺普查", "screening:1"),
    # Words that hide others
    (
        "急腹症|尘肺|HEAD FIRST|FEET FIRST|HEAD COIL|NECK COIL|BODY COIL|SPINE COIL|KNEE COIL|SHOULDER COIL|BREAST COIL|CARDIAC COIL"
        "|TORSO COIL|必要时增强|酌情增强|备增强|可能增强|视情况增强|肺窗|骨窗|纵隔窗|软组织窗|脑窗|LUNG WINDOW|BONE WINDOW|BRAIN WINDOW|三维重建|重建|手术|术后|术前"
        "|右键|左键|双源|双能|双低",
        "noise:1",
    ),
)

# What no single word says: the characters it begins with, the pattern, what it says. These come before the words.
PATTERNS: Final[tuple[tuple[str, str, str], ...]] = (
    (
        "未不拒没无暂",
        r"(?:未|不|拒绝?|没有?|无需?|暂)[^+,;。()\u4e00-\u9fff]?[\u4e00-\u9fff]{0,3}增强(?:扫描)?",
        "contrast:plain",
    ),
    ("建必酌可备视如", r"(?:建议|必要时|酌情|可能|备|视情况|如需)[^+;。()]{0,4}增强(?:扫描)?", "noise:1"),
    (
        "W",
        r"(?<![A-Z0-9])W(?:ITH)?/? *(?:AND|&|\+|/|,)? *W(?:ITH)?/?O(?:UT)?(?![A-Z])"
        r"|(?<![A-Z0-9])W(?:ITH)?/?O(?:UT)? *(?:AND|&|\+|/|,)? *W(?:ITH)?/?(?![A-Z/])",
        "contrast:plain contrast:enhanced",
    ),
    (
        "W",
        r"(?<![A-Z0-9])W(?:/O|O|ITHOUT|/OUT)(?![A-Z])[ \-]*(?:IV )?(?:(?:CONTRAST|CONTR?|CON|CE|C)(?![A-Z]))?",
        "contrast:plain",
    ),
    (
        "W",
        r"(?<![A-Z0-9])W(?:/|ITH|) *(?:IV )?(?:CONTRAST|CONTR?|CON|CE|C|GD)(?![A-Z])"
        r"|(?<![A-Z0-9])W(?:ITH|/|)(?![A-Z/])(?= *(?:$|[+,;)|&]))",
        "contrast:enhanced",
    ),
    ("A", r"(?<![A-Z])AORTA CHEST(?![A-Z]| ?[,/&+]? ?(?:ABD|AND))", "part:THORACICAORTA"),
    ("C(-", r"(?<![A-Z])C-(?![A-Z])|\(-\)|(?<=[0-9 ])-C(?![A-Z])", "contrast:plain"),
    (
        "C+(",
        r"(?<![A-Z])C\+(?! ?[TL][ \-]?S)|\+ ?C(?![A-Z]|[ .\-]*SP)|\(\+\)",
        "contrast:enhanced",
    ),
)
# These come after the words.
LATE_PATTERNS: Final[tuple[tuple[str, str, str], ...]] = (
    ("L", r"(?<![A-Z0-9])L(?![A-Z0-9]|[ .\-]*S?[ .\-]*SP|[ .\-]*[0-9])", "side:L"),
    ("R", r"(?<![A-Z0-9])R(?![A-Z0-9])", "side:R"),
    (
        "+;|、/&,及和与A-",
        r"[+;|、/&,及和与]|(?<![A-Z])AND(?![A-Z])|(?<=[\u4e00-\u9fff])-(?=[\u4e00-\u9fff])",
        "separator:1",
    ),
)

TYPING_ERRORS: Final[dict[str, str]] = {
    "頭": "头", "顱": "颅", "頸": "颈", "關": "关", "節": "节", "強": "强", "雙": "双", "側": "侧", "髖": "髋",
    "掃": "扫", "動": "动", "脈": "脉", "腦": "脑", "內": "内", "聽": "听", "脛": "胫", "腫": "肿", "臟": "脏",
    "頜": "颌", "鎖": "锁", "線": "线", "攝": "摄", "齡": "龄", "劑": "剂", "會": "会", "靜": "静", "竇": "窦",
    "头胪": "头颅", "头卢": "头颅", "头颇": "头颅", "颅恼": "颅脑", "胪脑": "颅脑", "卢脑": "颅脑", "芦脑": "颅脑",
    "胸布": "胸部", "胸步": "胸部", "腹布": "腹部", "腹步": "腹部", "复部": "腹部", "盆控": "盆腔", "盆腔腔": "盆腔",
    "颈锥": "颈椎", "劲椎": "颈椎", "胫椎": "颈椎", "胸锥": "胸椎", "腰锥": "腰椎", "要椎": "腰椎", "腰推": "腰椎",
    "颈推": "颈椎", "胸推": "胸椎", "关结": "关节", "关接": "关节", "膝盖": "膝关节", "漆关节": "膝关节", "宽关节": "髋关节",
    "跨关节": "髋关节", "碗关节": "腕关节", "裸关节": "踝关节", "髁关节": "踝关节", "骨盘": "骨盆", "肋古": "肋骨",
    "鼻窭": "鼻窦", "鼻豆": "鼻窦", "眼框": "眼眶", "聂骨": "颞骨", "颞古": "颞骨", "前列线": "前列腺", "乳线": "乳腺",
    "冠壮": "冠状", "主动脈": "主动脉", "平少": "平扫", "平骚": "平扫", "平嫂": "平扫", "平描": "平扫", "增墙": "增强",
    "赠强": "增强", "增祛": "增强", "加强扫描": "增强", "正则位": "正侧位", "正测位": "正侧位", "正恻位": "正侧位",
    "测位": "侧位", "双邪位": "双斜位", "正协位": "正斜位", "华式位": "华氏位", "瓦式位": "瓦氏位", "钥靶": "钼靶",
    "目靶": "钼靶", "低计量": "低剂量", "底剂量": "低剂量", "磁共震": "磁共振", "LUMBER": "LUMBAR",
}  # fmt: skip
